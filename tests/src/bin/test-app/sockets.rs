//! Sockets as an app has them that does not ask the library for them.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use engineer::contract;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// The next handed socket: they come in the order of the app's ports.
pub(crate) fn handed(_: SocketAddr) -> io::Result<TcpListener> {
    static TAKEN: AtomicI32 = AtomicI32::new(0);
    let is_ours = |pid: String| pid == std::process::id().to_string();
    let count = env::var(contract::LISTEN_FDS).ok().and_then(|count| count.parse().ok());
    let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
    if !env::var(contract::LISTEN_PID).is_ok_and(is_ours) || taken >= count.unwrap_or(0) {
        return Err(io::Error::other("no further socket was handed to this process"));
    }
    // SAFETY: LISTEN_PID and LISTEN_FDS say that the descriptor is this process's, and each is taken
    // once.
    let socket = unsafe { OwnedFd::from_raw_fd(contract::LISTEN_FDS_START + taken) };
    TcpListener::from_std(socket.into())
}

/// A socket of the app's own.
pub(crate) fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}
