//! Where in the file system a process's cgroup is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of this process's cgroup.
///
/// # Errors
/// `NotFound` where no cgroup v2 is mounted, or this process's lies outside of what is mounted.
pub fn own() -> io::Result<PathBuf> {
    of(std::process::id())
}

/// The folder of the cgroup of process `pid`.
///
/// # Errors
/// Those of [`own`]; `NotFound` where there is no such process, too.
pub fn of(pid: u32) -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    folder(&mounts, &groups)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup v2 is mounted for it"))
}

/// The folder that `groups` (`/proc/<pid>/cgroup`) names by `mounts` (`/proc/self/mountinfo`).
fn folder(mounts: &str, groups: &str) -> Option<PathBuf> {
    let group = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        // 36 35 98:0 /root /mounted/at options … - type source options: proc_pid_mountinfo(5)
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == "cgroup2").then_some(())?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let below = group.strip_prefix(unescape(root)).ok()?;
        Some(match below.as_os_str().is_empty() {
            true => unescape(at),
            false => unescape(at).join(below),
        })
    })
}

/// Blanks and the like are written as `\040`.
fn unescape(field: &str) -> PathBuf {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte {
            Some(byte) if byte.is_ascii() => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            _ => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_follows_from_the_mount() {
        let mount = |root: &str, at: &str| {
            format!(
                "24 1 0:5 / /proc rw shared:1 - proc proc rw\n31 24 0:27 {root} {at} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
            )
        };
        let groups = "12:cpu:/x\n0::/system.slice/agentd.service\n";
        let of = |root, at| folder(&mount(root, at), groups).map(|path| path.display().to_string());
        assert_eq!(
            of("/", "/sys/fs/cgroup").unwrap(),
            "/sys/fs/cgroup/system.slice/agentd.service"
        );
        assert_eq!(of("/system.slice", "/a\\040b").unwrap(), "/a b/agentd.service");
        assert_eq!(of("/system.slice/agentd.service", "/cg").unwrap(), "/cg");
        assert_eq!(of("/user.slice", "/cg"), None, "it lies outside of what is mounted");
        assert_eq!(folder(&mount("/", "/cg"), "12:cpu:/x\n"), None);
    }
}
