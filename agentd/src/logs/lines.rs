//! Cuts bytes into lines.

/// A longer line is cut into several: Cloud Logging's limit of an entry, less its envelope.
const LINE_MAX: usize = 250 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What came after the last line's end.
    rest: Vec<u8>,
    /// Where the last line ended in the stream.
    end: u64,
}

/// A line without its end, and where that end is in the stream.
pub(super) type Line = (String, u64);

impl Lines {
    /// A cutter for what follows the first `end` bytes of a stream, which ended with a line.
    pub(super) fn behind(end: u64) -> Self {
        Self { rest: Vec::new(), end }
    }

    /// Up to where the stream was cut into lines.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.ends_with(b"\n") {
                self.rest.pop();
                self.end += 1;
                lines.push(self.line());
            }
            while self.rest.len() >= LINE_MAX {
                let tail = self.rest.split_off(LINE_MAX);
                lines.push(self.line());
                self.rest = tail;
            }
        }
        lines
    }

    /// The last line, if it had no end.
    pub(super) fn finish(&mut self) -> Option<Line> {
        (!self.rest.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> Line {
        self.end += self.rest.len() as u64;
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        (text, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut cut: Vec<Line> = pieces.iter().flat_map(|piece| lines.take(piece)).collect();
        cut.extend(lines.finish());
        cut
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let whole = b"one\n\ntwo\xff\nlast without an end";
        let expected = [("one", 4), ("", 5), ("two\u{fffd}", 10), ("last without an end", 29)]
            .map(|(text, end)| (text.to_owned(), end));
        for at in 0..whole.len() {
            let (a, b) = whole.split_at(at);
            assert_eq!(cut(&[a, b]), expected, "cut at {at}");
        }
    }

    #[test]
    fn cutting_can_go_on_behind_any_line() {
        let whole = [b"first\n".repeat(3), vec![b'x'; LINE_MAX + 9], b"\nlast\n".to_vec()].concat();
        let all = cut(&[&whole]);
        for (index, (_, end)) in all.iter().enumerate() {
            let mut lines = Lines::behind(*end);
            assert_eq!(lines.take(&whole[*end as usize..]), all[index + 1..]);
            assert_eq!(lines.end(), whole.len() as u64);
        }
    }

    #[test]
    fn a_long_line_is_cut_and_nothing_of_it_is_lost() {
        let long = vec![b'x'; LINE_MAX * 2 + 7];
        let lines = cut(&[&long, b"\nnext\n"]);
        let lengths: Vec<_> = lines.iter().map(|(text, _)| text.len()).collect();
        assert_eq!(lengths, [LINE_MAX, LINE_MAX, 7, 4]);
    }
}
