//! Whether a file is something that the instances can run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::failed;
use crate::config::Arch;
use crate::failure::{CommandResult, Exit, OrFail};

/// How much of a file tells what it is.
const HEAD: usize = 20;

/// What a file's first bytes make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// An executable for Linux and this machine.
    Elf(Arch),
    /// An executable for another machine.
    OtherElf,
    /// `#!`: whatever runs it must be on the instances.
    Script,
    /// Anything else.
    Other,
}

/// Refuses what would not start there. Only a build command's output may be a script.
pub fn check(executable: &Path, arch: Arch, may_be_script: bool) -> CommandResult<()> {
    let head = head(executable)
        .or_fail(Exit::BuildFailed, format!("cannot read {}", executable.display()))?;
    let shown = executable.display();
    let metadata =
        fs::metadata(executable).or_fail(Exit::BuildFailed, format!("cannot read {shown}"))?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(failed(format_args!("{shown} is not marked as executable"))
            .hint(format!("let the build end with `chmod +x {shown}`")));
    }
    match format(&head) {
        Format::Elf(found) if found == arch => Ok(()),
        Format::Script if may_be_script => Ok(()),
        Format::Elf(found) => Err(failed(format_args!(
            "{shown} is built for {}, and the app's `arch` is {}",
            found.name(),
            arch.name()
        ))
        .hint("the build's target and `arch` must agree")),
        Format::OtherElf => Err(failed(format_args!(
            "{shown} is built for a machine that is neither amd64 nor arm64"
        ))),
        Format::Script | Format::Other => {
            Err(failed(format_args!("{shown} is no Linux executable (ELF)")))
        }
    }
}

/// For which architecture of ours a file is, if it is an executable at all.
///
/// # Errors
/// When it cannot be read.
pub fn arch(path: &Path) -> io::Result<Option<Arch>> {
    Ok(match format(&head(path)?) {
        Format::Elf(arch) => Some(arch),
        Format::OtherElf | Format::Script | Format::Other => None,
    })
}

/// Whether it is there and an executable for any machine.
pub fn is_elf(path: &Path) -> CommandResult<bool> {
    match head(path) {
        Ok(head) => Ok(matches!(format(&head), Format::Elf(_) | Format::OtherElf)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            Err(error).or_fail(Exit::BuildFailed, format!("cannot read {}", path.display()))
        }
    }
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Offsets and numbers as the System V ABI gives them: the class (64 bits) and the byte order at 4
/// and 5, the machine at 18.
fn format(head: &[u8]) -> Format {
    match head {
        [b'#', b'!', ..] => Format::Script,
        [0x7f, b'E', b'L', b'F', 2, 1, .., 62, 0] if head.len() == HEAD => Format::Elf(Arch::Amd64),
        [0x7f, b'E', b'L', b'F', 2, 1, .., 183, 0] if head.len() == HEAD => {
            Format::Elf(Arch::Arm64)
        }
        [0x7f, b'E', b'L', b'F', ..] if head.len() == HEAD => Format::OtherElf,
        _ => Format::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_tells_what_runs_where() {
        let own = head(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(format(&own), Format::Elf(Arch::of_this_machine()));
        let mut other = own.clone();
        other[18] = 243;
        assert_eq!(format(&other), Format::OtherElf);
        assert_eq!(format(&own[..HEAD - 1]), Format::Other);
        assert_eq!(format(b"#!/bin/sh\n"), Format::Script);
        assert_eq!(format(b""), Format::Other);
    }
}
