//! Which bytes of an upload a request carries.

use crate::problem::{Done, Problem};

/// What a request to an upload's session says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// Where the body belongs; `None` for a question how far the upload is.
    pub(super) start: Option<u64>,
    /// Where it ends, which the body's length must agree with.
    pub(super) end: Option<u64>,
    /// The size of the whole, when it is known by now.
    pub(super) total: Option<u64>,
    /// The body goes on to the end of the whole.
    pub(super) is_rest: bool,
}

impl ContentRange {
    /// Reads the header. No header stands for the whole in one request.
    pub(super) fn parse(header: Option<&str>) -> Done<Self> {
        let Some(header) = header else {
            return Ok(Self { start: Some(0), end: None, total: None, is_rest: true });
        };
        let unknown =
            || Problem::invalid(format!("Failed to parse Content-Range header {header:?}."));
        let number = |text: &str| text.parse::<u64>().map_err(|_| unknown());
        let (range, total) = header
            .strip_prefix("bytes")
            .and_then(|rest| rest.trim_start().split_once('/'))
            .ok_or_else(unknown)?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        if range == "*" {
            return Ok(Self { start: None, end: None, total, is_rest: false });
        }
        let (start, last) = range.split_once('-').ok_or_else(unknown)?;
        let start = number(start)?;
        if last == "*" {
            return Ok(Self { start: Some(start), end: total, total, is_rest: true });
        }
        let end = number(last)?.checked_add(1).ok_or_else(unknown)?;
        if end <= start || total.is_some_and(|total| end > total) {
            return Err(unknown());
        }
        Ok(Self { start: Some(start), end: Some(end), total, is_rest: total == Some(end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let range = |start, end, total, is_rest| ContentRange { start, end, total, is_rest };
        let cases = [
            ("bytes 0-9/20", range(Some(0), Some(10), Some(20), false)),
            ("bytes 10-19/20", range(Some(10), Some(20), Some(20), true)),
            ("bytes 0-9/*", range(Some(0), Some(10), None, false)),
            ("bytes */20", range(None, None, Some(20), false)),
            ("bytes */*", range(None, None, None, false)),
            ("bytes 5-*/*", range(Some(5), None, None, true)),
            ("bytes 5-*/20", range(Some(5), Some(20), Some(20), true)),
        ];
        for (header, expected) in cases {
            assert_eq!(ContentRange::parse(Some(header)).unwrap(), expected, "{header}");
        }
        assert_eq!(ContentRange::parse(None).unwrap(), range(Some(0), None, None, true));
        for bad in ["", "bytes", "bytes 1/2", "bytes 5-4/9", "bytes 0-9/5", "bytes a-b/c", "0-9/20"]
        {
            assert!(ContentRange::parse(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
