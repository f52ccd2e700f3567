//! Which bytes of an object a download wants.

use crate::problem::{Done, Problem};

/// Bytes from `start` up to but without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What a `Range` header wants of an object of this size.
pub(crate) fn parse(header: &str, size: u64) -> Done<Span> {
    let unknown = || Problem::unknown(format_args!("the range {header:?}"));
    let range = header.trim().strip_prefix("bytes=").ok_or_else(unknown)?;
    let (first, last) = range.split_once('-').ok_or_else(unknown)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| unknown());
    let span = match (first.trim(), last.trim()) {
        ("", "") => return Err(unknown()),
        ("", suffix) => Span { start: size.saturating_sub(number(suffix)?), end: size },
        (first, "") => Span { start: number(first)?, end: size },
        (first, last) => {
            let (start, last) = (number(first)?, number(last)?);
            if last < start {
                return Err(unknown());
            }
            Span { start, end: size.min(last.saturating_add(1)) }
        }
    };
    if span.start < span.end { Ok(span) } else { Err(unsatisfiable(size)) }
}

fn unsatisfiable(size: u64) -> Problem {
    let message = "The requested range cannot be satisfied.";
    let mut problem = Problem::new(416, "requestedRangeNotSatisfiable", message);
    problem.headers.push(("content-range", format!("bytes */{size}")));
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        let cases = [
            ("bytes=0-0", 0, 1),
            ("bytes=0-9", 0, 10),
            ("bytes=3-", 3, 10),
            ("bytes=3-5", 3, 6),
            ("bytes=5-99", 5, 10),
            ("bytes=-4", 6, 10),
            ("bytes=-99", 0, 10),
        ];
        for (header, start, end) in cases {
            assert_eq!(parse(header, 10).unwrap(), Span { start, end }, "{header}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (header, size) in [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-0", 10)] {
            assert_eq!(parse(header, size).unwrap_err().status, 416, "{header}");
        }
        for header in ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "lines=1-2"]
        {
            assert_eq!(parse(header, 10).unwrap_err().status, 400, "{header}");
        }
    }
}
