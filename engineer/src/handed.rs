//! The sockets that the agent, or systemd, handed over.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process;

use socket2::Socket;

use crate::contract;

/// A listening socket, under the name that it was handed over with: a port, as a rule.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) name: String,
    pub(crate) listener: TcpListener,
}

/// Takes all that was handed to this process. To be called once in a process.
///
/// # Errors
/// When the variables make no sense, or name descriptors that are no listening TCP sockets.
pub(crate) fn take() -> io::Result<Vec<Handed>> {
    descriptors(|name| env::var(name).ok(), process::id())?
        .into_iter()
        .map(|(descriptor, name)| adopt(descriptor, name))
        .collect()
}

fn adopt(descriptor: RawFd, name: String) -> io::Result<Handed> {
    let refused = |cause: &dyn std::fmt::Display| {
        let text = format!("the handed descriptor {descriptor} ({name}) is of no use: {cause}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    // SAFETY: `LISTEN_FDS` with this process's `LISTEN_PID` says that the starter of the process
    // left this descriptor to it, and `take` runs once, so that nothing else here owns it.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    // Also the first use of the number: fails where the starter promised more than it left.
    if let Err(error) = socket.set_cloexec(true) {
        // There is nothing to close, and closing nothing aborts the process in a debug build.
        std::mem::forget(socket);
        return Err(refused(&error));
    }
    if !socket.is_listener().map_err(|error| refused(&error))? {
        return Err(refused(&"it does not listen"));
    }
    if socket.local_addr().map_err(|error| refused(&error))?.as_socket().is_none() {
        return Err(refused(&"it has no TCP address"));
    }
    socket.set_nonblocking(true).map_err(|error| refused(&error))?;
    Ok(Handed { name, listener: socket.into() })
}

/// The descriptors and their names; none where they are meant for another process.
fn descriptors(
    variable: impl Fn(&str) -> Option<String>,
    pid: u32,
) -> io::Result<Vec<(RawFd, String)>> {
    let (Some(listen_pid), Some(count)) =
        (variable(contract::LISTEN_PID), variable(contract::LISTEN_FDS))
    else {
        return Ok(Vec::new());
    };
    if number(contract::LISTEN_PID, &listen_pid)? != i64::from(pid) {
        return Ok(Vec::new());
    }
    // A limit far past any real number, so that a wrong one does not become a huge allocation.
    let count = match number(contract::LISTEN_FDS, &count)? {
        count @ 0..=1024 => count as RawFd,
        count => return Err(invalid(format!("LISTEN_FDS={count} is not a number of sockets"))),
    };
    let names = variable(contract::LISTEN_FDNAMES).unwrap_or_default();
    let names = names.split(contract::LISTEN_FDNAMES_SEPARATOR).map(str::to_owned);
    let descriptors = contract::LISTEN_FDS_START..contract::LISTEN_FDS_START + count;
    Ok(descriptors.zip(names.chain(std::iter::repeat(String::new()))).collect())
}

fn number(name: &str, value: &str) -> io::Result<i64> {
    value.parse().map_err(|_| invalid(format!("{name}={value} is not a number")))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> io::Result<Vec<(RawFd, String)>> {
        let find = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted);
        descriptors(|wanted| find(wanted).map(|(_, value)| (*value).to_owned()), 42)
    }

    #[test]
    fn descriptors_come_with_their_names() {
        let two = of(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "80:443")]);
        assert_eq!(two.expect("two"), [(3, "80".to_owned()), (4, "443".to_owned())]);
        let nameless = of(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "1")]);
        assert_eq!(nameless.expect("one"), [(3, String::new())]);
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        assert_eq!(of(&[]).expect("none"), []);
        assert_eq!(of(&[("LISTEN_FDS", "1")]).expect("none"), []);
        assert_eq!(of(&[("LISTEN_PID", "41"), ("LISTEN_FDS", "1")]).expect("none"), []);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let error = of(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "many")]).expect_err("no number");
        assert_eq!(error.to_string(), "LISTEN_FDS=many is not a number");
        let error = of(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "-1")]).expect_err("no count");
        assert_eq!(error.to_string(), "LISTEN_FDS=-1 is not a number of sockets");
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_refused() {
        let error = adopt(1_000_000, "80".to_owned()).expect_err("no such descriptor");
        assert!(error.to_string().contains("descriptor 1000000 (80)"), "{error}");
    }
}
