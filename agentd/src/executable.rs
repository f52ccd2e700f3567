//! Whether a file can be started at all, found out without starting it: while another version
//! serves, it must not be ended for one that cannot even begin.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// An ELF header of 64 bits, little-endian: the only kind that Engineer's machines have.
const ELF: &[u8] = b"\x7fELF\x02\x01";
const ELF_HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;

/// The type of a program header that names the interpreter (elf(5)).
const PT_INTERP: u32 = 3;

/// The machine that this agent was built for, as an ELF header has it.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

/// What the kernel reads of a script to find its interpreter (`BINPRM_BUF_SIZE`).
const SCRIPT_HEAD_SIZE: usize = 256;

/// Checks what `execve` would refuse.
///
/// # Errors
/// The error that it would give: `EACCES`, `ENOEXEC`, or `ENOENT` for a missing interpreter.
pub fn check(program: &Path) -> io::Result<()> {
    let file = open(program)?;
    let mut head = Vec::new();
    (&file).take(SCRIPT_HEAD_SIZE as u64).read_to_end(&mut head)?;
    let interpreter = match head.strip_prefix(b"#!") {
        Some(line) => Some(script_interpreter(line)?),
        None => elf_interpreter(&file, &head)?,
    };
    // A relative one is looked for where the app is started, which is where the program lies.
    let folder = program.parent().unwrap_or(Path::new("/"));
    match interpreter {
        Some(interpreter) => open(&folder.join(interpreter)).map(drop),
        None => Ok(()),
    }
}

fn open(program: &Path) -> io::Result<File> {
    let file = File::open(program)?;
    match file.metadata()?.permissions().mode() & 0o111 {
        0 => Err(io::Error::from_raw_os_error(libc::EACCES)),
        _ => Ok(file),
    }
}

fn not_executable() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOEXEC)
}

/// The first word of the line behind `#!`.
fn script_interpreter(line: &[u8]) -> io::Result<PathBuf> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let first = words.next().ok_or_else(not_executable)?;
    Ok(PathBuf::from(OsStr::from_bytes(first)))
}

/// The interpreter that a dynamically linked program names.
fn elf_interpreter(file: &File, head: &[u8]) -> io::Result<Option<PathBuf>> {
    if !head.starts_with(ELF) || head.len() < ELF_HEADER_SIZE || short(head, 18) != MACHINE {
        return Err(not_executable());
    }
    let (offset, size, count) = (long(head, 32), short(head, 54), short(head, 56));
    if usize::from(size) != PROGRAM_HEADER_SIZE {
        return Err(not_executable());
    }
    for index in 0..u64::from(count) {
        let mut header = [0; PROGRAM_HEADER_SIZE];
        let at = offset.checked_add(index * PROGRAM_HEADER_SIZE as u64);
        file.read_exact_at(&mut header, at.ok_or_else(not_executable)?).map_err(cut_short)?;
        if word(&header, 0) == PT_INTERP {
            let length = usize::try_from(long(&header, 32)).map_err(|_| not_executable())?;
            let mut path = vec![0; length.min(libc::PATH_MAX as usize)];
            file.read_exact_at(&mut path, long(&header, 8)).map_err(cut_short)?;
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            return Ok(Some(PathBuf::from(OsStr::from_bytes(path))));
        }
    }
    Ok(None)
}

fn cut_short(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { not_executable() } else { error }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::process::{self, Launch};
    use crate::sandbox::{Plan, Sandbox};

    /// Whatever the kernel refuses is refused with the same number, and the rest passes.
    #[test]
    fn it_says_what_the_kernel_would() {
        let folder = tempfile::tempdir().unwrap();
        let own = std::fs::read("/bin/true").unwrap();
        let mut foreign = own.clone();
        foreign[18] = if MACHINE == 183 { 62 } else { 183 };
        let mut lost = own.clone();
        let interpreter = own.windows(4).position(|part| part == b"/lib").unwrap();
        lost[interpreter] = b'!';
        let cases: [(&[u8], u32); 12] = [
            (&own, 0o755),
            (&own, 0o644),
            (&foreign, 0o755),
            (&lost, 0o755),
            (&own[..100], 0o755),
            (b"", 0o755),
            (b"plain text\n", 0o755),
            (b"#!/bin/sh\nexit 0\n", 0o755),
            (b"#! /bin/sh -e\nexit 0\n", 0o755),
            (b"#!/etc/passwd\n", 0o755),
            (b"#!/no/such/interpreter\n", 0o755),
            (b"#!\n", 0o755),
        ];
        for (index, (content, mode)) in cases.into_iter().enumerate() {
            let program = folder.path().join(index.to_string());
            std::fs::write(&program, content).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
            let ours = check(&program).map_err(|error| error.raw_os_error());
            let launch = Launch {
                program,
                args: Vec::new(),
                environment: BTreeMap::new(),
                folder: folder.path().to_owned(),
                sockets: Vec::new(),
                output: [(); 2].map(|()| File::create("/dev/null").unwrap().into()),
                ticket: folder.path().join(format!("{index}.ticket")),
                sandbox: Sandbox::prepare(&Plan { nofile: 1024, confined: None }).unwrap(),
                group: None,
            };
            let kernel = match process::start(launch) {
                Ok(pid) => {
                    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                    nix::sys::wait::waitpid(pid, None).map(drop).map_err(|_| None)
                }
                Err(fault) => Err(fault.error.raw_os_error()),
            };
            assert_eq!(ours, kernel, "case {index}");
        }
    }
}
