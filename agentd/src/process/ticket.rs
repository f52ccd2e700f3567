//! The ticket of a run: whoever makes it is the run's process.
//!
//! An agent may be killed between its fork and the moment when it writes down what it has started.
//! So it is the new process itself that, before it becomes the app, makes a symbolic link whose
//! text is its number and its start time. That is one system call, which fails if the link is there:
//! however often agents carry the same start out, one process becomes the app.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Room for the largest numbers that the kernel gives, `4194304/18446744073709551615`, and a zero.
const TEXT_MAX: usize = 48;

/// `/proc/self/stat` up to the start time: the name has 16 bytes at most, all else are numbers.
const STAT_MAX: usize = 1024;

/// A ticket that the process about to be forked is to take.
#[derive(Debug)]
pub struct Ticket {
    path: CString,
    text: [u8; TEXT_MAX],
    stat: [u8; STAT_MAX],
}

impl Ticket {
    /// A ticket at `path`.
    ///
    /// # Errors
    /// For a path with a zero byte.
    pub fn new(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        Ok(Self { path, text: [0; TEXT_MAX], stat: [0; STAT_MAX] })
    }

    /// Takes it for this process. It may be called between fork and exec: it allocates nothing.
    ///
    /// # Errors
    /// `EEXIST` when another process has taken it.
    pub fn take(&mut self) -> io::Result<()> {
        let start = self.own_start_time()?;
        let length = write_decimal(&mut self.text, 0, u64::from(std::process::id()));
        self.text[length] = b'/';
        let length = write_decimal(&mut self.text, length + 1, start);
        self.text[length] = 0;
        // SAFETY: both texts end with a zero byte and live through the call.
        if unsafe { libc::symlink(self.text.as_ptr().cast(), self.path.as_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn own_start_time(&mut self) -> io::Result<u64> {
        // SAFETY: the path is a constant that ends with a zero byte.
        let file =
            unsafe { libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened above, and the buffer has the length that is given.
        let read = unsafe { libc::read(file, self.stat.as_mut_ptr().cast(), self.stat.len()) };
        // SAFETY: the descriptor was opened above and is used no more.
        unsafe { libc::close(file) };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        start_time(&self.stat[..read]).ok_or(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

/// See [`super::handle::start_time`]; this one allocates nothing.
fn start_time(stat: &[u8]) -> Option<u64> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let field = stat.get(name_ends + 2..)?.split(|byte| *byte == b' ').nth(22 - 3)?;
    field.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit().then_some(())?;
        number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

/// Writes the digits, and gives the index behind them.
fn write_decimal(text: &mut [u8; TEXT_MAX], at: usize, number: u64) -> usize {
    let length = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for index in (at..at + length).rev() {
        text[index] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    at + length
}

/// Who has taken the ticket at `path`: its number and start time. `None`: nobody.
///
/// # Errors
/// When it cannot be read, or is no ticket.
pub fn taken_by(path: &Path) -> io::Result<Option<(u32, u64)>> {
    let text = match std::fs::read_link(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let parsed = text.to_str().and_then(|text| text.split_once('/'));
    let parsed = parsed.and_then(|(pid, start)| Some((pid.parse().ok()?, start.parse().ok()?)));
    parsed.map(Some).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is no ticket", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_takes_it_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticket");
        assert_eq!(taken_by(&path).unwrap(), None);
        Ticket::new(&path).unwrap().take().unwrap();
        let me = std::process::id();
        let start = super::super::handle::start_time(me).unwrap().unwrap();
        assert_eq!(taken_by(&path).unwrap(), Some((me, start)));
        let second = Ticket::new(&path).unwrap().take().unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn numbers_of_any_length_fit() {
        for number in [0, 7, 10, 4_194_304, u64::MAX] {
            let mut text = [0; TEXT_MAX];
            let length = write_decimal(&mut text, 3, number);
            assert_eq!(std::str::from_utf8(&text[3..length]).unwrap(), number.to_string());
        }
        let longest = format!("4194304/{}", u64::MAX);
        assert!(longest.len() < TEXT_MAX);
    }
}
