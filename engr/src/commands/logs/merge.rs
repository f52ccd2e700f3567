//! Merges the lines of several instances by time.

use std::collections::VecDeque;

use deploy::log_line::LogLine;

/// One sequence by time out of many, each with the number of its instance. The order within an
/// instance stays as it is, even where its clock was set back.
pub(super) fn by_time(sources: Vec<(usize, Vec<LogLine>)>) -> Vec<(usize, LogLine)> {
    let mut sources: Vec<(usize, VecDeque<LogLine>)> =
        sources.into_iter().map(|(number, lines)| (number, lines.into())).collect();
    let mut merged = Vec::with_capacity(sources.iter().map(|(_, lines)| lines.len()).sum());
    while let Some((number, lines)) = sources
        .iter_mut()
        .filter(|(_, lines)| !lines.is_empty())
        .min_by_key(|(_, lines)| lines[0].time)
    {
        merged.extend(lines.pop_front().map(|line| (*number, line)));
    }
    merged
}

#[cfg(test)]
mod tests {
    use deploy::Timestamp;
    use deploy::log_line::Stream;

    use super::*;

    fn line(second: i64) -> LogLine {
        let time = Timestamp::from_second(second).unwrap();
        LogLine { time, release: 1, stream: Stream::Out, text: second.to_string(), source: None }
    }

    #[test]
    fn lines_are_merged_and_an_instance_keeps_its_order() {
        let of = |seconds: &[i64]| seconds.iter().map(|second| line(*second)).collect();
        let merged = by_time(vec![(0, of(&[1, 4, 2, 9])), (1, of(&[3, 4])), (2, of(&[]))]);
        let order: Vec<(usize, &str)> = merged.iter().map(|(n, l)| (*n, l.text.as_str())).collect();
        assert_eq!(order, [(0, "1"), (1, "3"), (0, "4"), (0, "2"), (1, "4"), (0, "9")]);
    }
}
