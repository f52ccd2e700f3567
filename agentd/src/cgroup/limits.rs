//! How much of the machine a version may have.

use std::fs;
use std::io;
use std::path::Path;

/// `cpu.max` counts within this time, the kernel's own default.
const PERIOD_MICROS: u64 = 100_000;

/// How much of the machine a version may have. None: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
}

impl Limits {
    /// Writes them into the group at `path`. What is not limited is set free, as it may have been
    /// limited before.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where a limit is wanted whose controller is not there; what the
    /// kernel says.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let memory = self.memory.map_or("max".to_owned(), |bytes| bytes.to_string());
        let cpu = self.cpu_millis.map_or("max".to_owned(), |millis| {
            (u64::from(millis) * PERIOD_MICROS / 1000).to_string()
        });
        let written = [
            set(path, "memory.max", &memory, self.memory.is_some()),
            // A version of several processes that has lost one of them is no version any more.
            set(path, "memory.oom.group", "1", false),
            set(path, "cpu.max", &format!("{cpu} {PERIOD_MICROS}"), self.cpu_millis.is_some()),
        ];
        written.into_iter().collect()
    }
}

fn set(path: &Path, file: &str, value: &str, is_wanted: bool) -> io::Result<()> {
    let at = path.join(file);
    // A missing file would be made in a folder that is no cgroup, and is refused in one that is.
    match fs::OpenOptions::new().write(true).open(&at) {
        Ok(mut file) => io::Write::write_all(&mut file, value.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_wanted => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = format!("{file} cannot be set: its controller is not there");
            Err(io::Error::new(io::ErrorKind::Unsupported, why))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let limits = Limits { memory: Some(512 << 20), cpu_millis: Some(1500) };
        let error = limits.write(path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert_eq!(error.to_string(), "memory.max cannot be set: its controller is not there");
        Limits::default().write(path).unwrap();
        for file in ["memory.max", "memory.oom.group", "cpu.max"] {
            fs::write(path.join(file), "").unwrap();
        }
        limits.write(path).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read("memory.max"), "536870912");
        assert_eq!(read("memory.oom.group"), "1");
        assert_eq!(read("cpu.max"), "150000 100000");
        for file in ["memory.max", "cpu.max"] {
            fs::write(path.join(file), "").unwrap();
        }
        Limits::default().write(path).unwrap();
        assert_eq!((read("memory.max"), read("cpu.max")), ("max".into(), "max 100000".into()));
    }
}
