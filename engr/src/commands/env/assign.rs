//! `K=V`, `K V`, `K=@file` and `K=-`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use deploy::environment;
use deploy::release::{is_reserved_variable, is_settable_variable};

use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// Linux takes no longer `NAME=value` in a process's environment (`MAX_ARG_STRLEN`, with the end).
const BYTES_MAX: usize = 128 * 1024 - 1;

/// The variables that the words assign. `stdin` is read where one of them says `-`.
pub(super) fn read(words: &[String], stdin: impl Read) -> CommandResult<BTreeMap<String, String>> {
    let mut stdin = Some(stdin);
    let mut variables = BTreeMap::new();
    for (name, value) in split(words)? {
        check_name(name)?;
        let value = match value {
            Value::Plain(value) => value.to_owned(),
            Value::File(path) => text(name, std::fs::read(Path::new(path)), path)?,
            Value::Stdin => {
                let twice = || Failure::usage("standard input can be only one variable's value");
                let mut data = Vec::new();
                let read = stdin.take().ok_or_else(twice)?.read_to_end(&mut data);
                text(name, read.map(|_| data), "standard input")?
            }
        };
        check_value(name, &value)?;
        if variables.insert(name.to_owned(), value).is_some() {
            return Err(Failure::usage(format_args!("{name} is set twice")));
        }
    }
    Ok(variables)
}

/// Where a value comes from.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Plain(&'a str),
    File(&'a str),
    Stdin,
}

fn split(words: &[String]) -> CommandResult<Vec<(&str, Value<'_>)>> {
    // Two words, the first a name alone: the second is the value, whatever it looks like.
    if let [name, value] = words
        && !name.contains('=')
    {
        return Ok(vec![(name, Value::Plain(value))]);
    }
    words.iter().map(|word| assignment(word)).collect()
}

fn assignment(word: &str) -> CommandResult<(&str, Value<'_>)> {
    // The word is not repeated: it may be a value that lost its name.
    let (name, value) = word.split_once('=').ok_or_else(|| {
        Failure::usage("a word has no `=`").hint("write each variable as K=V, K=@file or K=-")
    })?;
    Ok(match value.strip_prefix('@') {
        Some(path) => (name, Value::File(path)),
        None if value == "-" => (name, Value::Stdin),
        None => (name, Value::Plain(value)),
    })
}

/// A file's text, without the end of its last line: editors and `echo` write one, nobody means it.
fn text(name: &str, data: std::io::Result<Vec<u8>>, from: &str) -> CommandResult<String> {
    let data = data.or_fail(Exit::Usage, format_args!("cannot read {name} from {from}"))?;
    let mut text = String::from_utf8(data)
        .map_err(|_| Failure::usage(format_args!("{name}: {from} is not UTF-8 text")))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn check_name(name: &str) -> CommandResult<()> {
    if is_settable_variable(name) {
        return Ok(());
    }
    let failure = Failure::usage(format_args!("{name:?} cannot be a variable of yours"));
    Err(if is_reserved_variable(name) && environment::is_valid_name(name) {
        failure.hint("Engineer sets it by itself")
    } else {
        failure.hint("a name is letters, digits and `_`, and does not start with a digit")
    })
}

fn check_value(name: &str, value: &str) -> CommandResult<()> {
    if value.contains('\0') {
        return Err(Failure::usage(format_args!("{name}: no variable can hold a NUL byte")));
    }
    let size = name.len() + 1 + value.len();
    if size > BYTES_MAX {
        return Err(Failure::usage(format_args!(
            "{name}: {size} bytes with its name, and Linux takes at most {BYTES_MAX}"
        ))
        .hint("ship it as a file: see `include` in engr.json"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(words: &[&str], stdin: &str) -> Result<Vec<(String, String)>, String> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let read = read(&words, stdin.as_bytes());
        read.map(|all| all.into_iter().collect()).map_err(|failure| failure.error.to_string())
    }

    fn one(name: &str, value: &str) -> Result<Vec<(String, String)>, String> {
        Ok(vec![(name.into(), value.into())])
    }

    #[test]
    fn each_way_to_write_a_variable() {
        assert_eq!(assigned(&["A=1"], ""), one("A", "1"));
        assert_eq!(assigned(&["A="], ""), one("A", ""));
        assert_eq!(assigned(&["A=b=c"], ""), one("A", "b=c"));
        assert_eq!(assigned(&["A", "1"], ""), one("A", "1"));
        assert_eq!(assigned(&["A", "B=1"], ""), one("A", "B=1"));
        assert_eq!(assigned(&["A", "@home"], ""), one("A", "@home"));
        assert_eq!(assigned(&["A=-"], "two\nlines\n"), one("A", "two\nlines"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\r\n").unwrap();
        assert_eq!(assigned(&[&format!("A=@{}", file.path().display())], ""), one("A", "s3cret"));
        assert_eq!(assigned(&["A=1", "B=2"], "").unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_set_is_refused_without_its_value() {
        for (words, part) in [
            (&["s3cret"][..], "no `=`"),
            (&["A=1", "s3cret"], "no `=`"),
            (&["A=1", "A=s3cret"], "twice"),
            (&["A=-", "B=-"], "only one"),
            (&["1A=s3cret"], "\"1A\""),
            (&["PORT=s3cret"], "\"PORT\""),
            (&["ENGR_X=s3cret"], "\"ENGR_X\""),
            (&["A=@/nowhere/at/all"], "cannot read A"),
            (&["A=s3cret\0"], "NUL"),
        ] {
            let error = assigned(words, "").unwrap_err();
            assert!(error.contains(part) && !error.contains("s3cret"), "{words:?}: {error}");
        }
        let long = format!("A={}", "x".repeat(BYTES_MAX));
        assert!(assigned(&[&long], "").unwrap_err().contains("at most"));
    }
}
