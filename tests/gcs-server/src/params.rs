//! A call's query, from which each handler takes what it knows. What is left over is refused.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::problem::{Done, Problem};

/// The parameters that nobody has taken yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Takes a query apart.
    pub(crate) fn parse(query: &str) -> Done<Self> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Done<_>>().map(Self)
    }

    /// One value. Twice the same name is refused.
    pub(crate) fn text(&mut self, name: &str) -> Done<Option<String>> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(Problem::unknown(format_args!("the parameter {name} given twice")));
        }
        Ok(values.pop())
    }

    /// One value that means nothing when it is empty.
    pub(crate) fn filled(&mut self, name: &str) -> Done<Option<String>> {
        Ok(self.text(name)?.filter(|value| !value.is_empty()))
    }

    /// A value of another type.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str) -> Done<Option<T>> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        value.parse().map(Some).map_err(|_| Problem::bad_parameter(name, &value))
    }

    /// All values of a name that may come several times.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(n, _)| n == name);
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Looks without taking.
    pub(crate) fn peek(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All that nobody has taken.
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// Refuses what nobody has taken.
    pub(crate) fn finish(self) -> Done<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Problem::unknown(format_args!("the parameter {name} of this call")))
            }
        }
    }
}

/// A form's text: `+` is a space, and the rest percent-encoded.
pub(crate) fn decode(text: &str) -> Done<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.map(Into::into).map_err(|_| Problem::invalid(format!("{text:?} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_is_refused() {
        let mut params = Params::parse("name=a%2Fb+c&maxResults=7&x=1&x=2&empty=").unwrap();
        assert_eq!(params.text("name").unwrap().unwrap(), "a/b c");
        assert_eq!(params.parsed::<u32>("maxResults").unwrap(), Some(7));
        assert_eq!(params.filled("empty").unwrap(), None);
        assert!(params.clone().text("x").is_err());
        let refused = params.clone().finish().unwrap_err();
        assert!(refused.text().contains("parameter x"), "{refused:?}");
        assert_eq!(params.all("x"), ["1", "2"]);
        params.finish().unwrap();
        assert!(Params::parse("a=%ff").is_err());
        assert!(Params::parse("a=x").unwrap().parsed::<u32>("a").is_err());
    }
}
