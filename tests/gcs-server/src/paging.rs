//! Listings in pages.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::params::Params;
use crate::problem::{Done, Problem};

/// How many entries a page has at most.
const PAGE_MAX: usize = 1000;

/// Where an entry stands in a listing: its name, and its generation where names repeat.
pub(crate) type Place = (String, u64);

/// Which page of a listing is asked for.
#[derive(Debug)]
pub(crate) struct Page {
    size: usize,
    /// The last entry of the page before.
    after: Option<Place>,
}

impl Page {
    /// Takes `maxResults` and `pageToken`.
    pub(crate) fn take(params: &mut Params) -> Done<Self> {
        let size = params.parsed::<usize>("maxResults")?.unwrap_or(PAGE_MAX);
        if size == 0 {
            return Err(Problem::bad_parameter("maxResults", "0"));
        }
        let after = params.filled("pageToken")?;
        let after = after
            .map(|token| read(&token).ok_or_else(|| Problem::bad_parameter("pageToken", &token)));
        Ok(Self { size: size.min(PAGE_MAX), after: after.transpose()? })
    }

    /// The page's entries, and the token of the next page if there is one. `entries` are in the
    /// order of their places.
    pub(crate) fn cut<T>(
        &self,
        entries: impl Iterator<Item = T>,
        place: impl Fn(&T) -> Place,
    ) -> (Vec<T>, Option<String>) {
        let is_next = |entry: &T| self.after.as_ref().is_none_or(|after| place(entry) > *after);
        let mut entries = entries.filter(is_next);
        let kept: Vec<T> = entries.by_ref().take(self.size).collect();
        let next = entries.next().and_then(|_| kept.last()).map(|last| write(&place(last)));
        (kept, next)
    }
}

fn write((name, generation): &Place) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{generation}:{name}"))
}

fn read(token: &str) -> Option<Place> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (generation, name) = text.split_once(':')?;
    Some((name.to_owned(), generation.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lead_from_one_to_the_next_without_gaps() {
        let all: Vec<Place> =
            ["a", "b", "b", "c", "d"].iter().zip(1..).map(|(n, g)| (n.to_string(), g)).collect();
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let mut params = Params::parse(&format!("maxResults=2&pageToken={token}")).unwrap();
            let page = Page::take(&mut params).unwrap();
            let (kept, next) = page.cut(all.iter().cloned(), Clone::clone);
            assert!(kept.len() <= 2);
            seen.extend(kept);
            match next {
                Some(next) => token = next,
                None => break,
            }
        }
        assert_eq!(seen, all);
        for bad in ["pageToken=x", "maxResults=0", "maxResults=-1"] {
            assert!(Page::take(&mut Params::parse(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
