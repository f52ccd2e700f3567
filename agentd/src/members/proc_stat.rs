//! What `/proc/<pid>/stat` says of a process: proc_pid_stat(5).

use std::io;

/// Some of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// It has ended, and its parent has not heard of it yet.
    pub(super) is_zombie: bool,
    pub(super) parent: u32,
    pub(super) session: u32,
    /// In clock ticks since the machine's start. With its number it names a process for good.
    pub(super) start: u64,
}

/// `None`: there is no such process.
pub(super) fn of(pid: u32) -> io::Result<Option<Stat>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The numbers of all processes.
pub(super) fn all() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// ESRCH: it was reaped between the open and the read.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn parse(text: &str) -> Option<Stat> {
    // The second field is the program's name in brackets, which may have brackets and blanks.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        is_zombie: matches!(field(3)?, "Z" | "X" | "x"),
        parent: field(4)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        start: field(22)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_shifts_nothing() {
        let text = "12 (a) b) Z 5 12 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2\n";
        let stat = Stat { is_zombie: true, parent: 5, session: 9, start: 98765 };
        assert_eq!(parse(text), Some(stat));
        assert_eq!(parse("12 (a"), None);
    }
}
