//! Telling the agent how far the app is: one datagram to the socket that `NOTIFY_SOCKET` names.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::contract;

/// A reader that hangs must not hang the app.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Says that the app listens, or, for a worker, that it has begun its work. [`crate::http::serve`]
/// says so by itself. Does nothing where nobody asked to be told.
///
/// # Errors
/// When `NOTIFY_SOCKET` is set and nothing reads from it.
pub fn ready() -> io::Result<()> {
    notify(contract::READY)
}

/// Says that the app has stopped accepting. [`crate::Incoming`] says so by itself. Does nothing
/// where nobody asked to be told.
///
/// # Errors
/// When `NOTIFY_SOCKET` is set and nothing reads from it.
pub fn stopping() -> io::Result<()> {
    notify(contract::STOPPING)
}

/// Turns "nobody is there to hear it" into success. An agent that is being replaced must not take
/// its app down with it; the next one finds the app by other means.
pub(crate) fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn notify(message: &str) -> io::Result<()> {
    match env::var_os(contract::NOTIFY_SOCKET) {
        Some(name) if !name.is_empty() => send(&name, message).map_err(|error| {
            let name = name.to_string_lossy();
            io::Error::new(error.kind(), format!("cannot say {message} to {name}: {error}"))
        }),
        _ => Ok(()),
    }
}

fn send(name: &OsStr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address(name)?)?;
    socket.set_write_timeout(Some(SEND_WITHIN))?;
    socket.send(message.as_bytes())?;
    Ok(())
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => abstract_address(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has abstract sockets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    #[test]
    fn a_path_and_an_abstract_name_are_both_reached() {
        let path = env::temp_dir().join(format!("engineer-notify-{}", std::process::id()));
        let by_path = UnixDatagram::bind(&path).expect("bind the path");
        send(path.as_os_str(), contract::READY).expect("send to the path");
        assert_eq!(received(&by_path), "READY=1");
        std::fs::remove_file(&path).expect("remove the path");

        let name = format!("@engineer-notify-{}", std::process::id());
        let address = address(OsStr::new(&name)).expect("an address");
        let by_name = UnixDatagram::bind_addr(&address).expect("bind the name");
        send(OsStr::new(&name), contract::STOPPING).expect("send to the name");
        assert_eq!(received(&by_name), "STOPPING=1");
    }

    #[test]
    fn an_agent_that_is_gone_is_no_error_of_the_app() {
        let gone = send(OsStr::new("/nonexistent/engineer"), contract::READY);
        assert_eq!(gone.as_ref().expect_err("nobody").kind(), io::ErrorKind::NotFound);
        unless_gone(gone).expect("passed over");
        let other = Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(unless_gone(other).is_err());
    }
}
