//! What an app says of itself on its notify socket: the protocol of sd_notify(3).
//!
//! Only the app's own processes are heard: the kernel tells who sent a datagram, and the sender must
//! belong to the session that the app's first process leads, or be known as one that it has forked.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram as StdDatagram};
use std::time::Duration;

use deploy::id::Id;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt,
};
use nix::unistd::{Pid, getsid};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// A longer status is cut: it goes into the instance's report.
const STATUS_MAX: usize = 200;

/// One thing that an app says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `READY=1`
    Ready,
    /// `STOPPING=1`
    Stopping,
    /// `STATUS=`: what it does, for people.
    Status(String),
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it is not well, by its own word.
    Unwell,
    /// `EXTEND_TIMEOUT_USEC=`: the deadline that it is under is to be this far from now, at least.
    Extend(Duration),
}

impl Notice {
    /// All that a datagram says and that is known here.
    pub fn all_of(datagram: &[u8]) -> Vec<Self> {
        let lines = datagram.split(|byte| *byte == b'\n');
        lines.filter_map(|line| Self::of(std::str::from_utf8(line).ok()?)).collect()
    }

    fn of(line: &str) -> Option<Self> {
        match line.split_once('=')? {
            ("READY", "1") => Some(Self::Ready),
            ("STOPPING", "1") => Some(Self::Stopping),
            ("STATUS", text) => Some(Self::Status(text.chars().take(STATUS_MAX).collect())),
            ("WATCHDOG", "1") => Some(Self::Alive),
            ("WATCHDOG", "trigger") => Some(Self::Unwell),
            ("EXTEND_TIMEOUT_USEC", micros) => {
                micros.parse().ok().map(|micros| Self::Extend(Duration::from_micros(micros)))
            }
            _ => None,
        }
    }
}

/// Where the processes of one run say how they are.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    name: String,
}

impl NotifySocket {
    /// A socket with a new name. In the abstract namespace: paths of sockets are short, folders of
    /// instances may be long.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let name = format!("engr-notify-{}", Id::random());
        let socket = StdDatagram::bind_addr(&UnixAddr::from_abstract_name(&name)?)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Self::of(socket)
    }

    /// The socket of an agent that died, with what was said meanwhile.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn take_over(socket: OwnedFd) -> io::Result<Self> {
        Self::of(StdDatagram::from(socket))
    }

    fn of(socket: StdDatagram) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let name = address.as_abstract_name().and_then(|name| std::str::from_utf8(name).ok());
        let name = name.map(|name| format!("@{name}")).ok_or(io::ErrorKind::InvalidInput)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)?, name })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for what a process of the session of `leader` says next, or another of which `is_own`
    /// says that it is the app's. It stays what is said next until [`Self::done`]: an agent that dies before it has acted on it leaves it to another.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn next(&self, leader: u32, is_own: impl Fn(u32) -> bool) -> io::Result<Vec<Notice>> {
        loop {
            let look = || receive(&self.socket, MsgFlags::MSG_PEEK);
            let (datagram, sender) = self.socket.async_io(Interest::READABLE, look).await?;
            let may_speak =
                |pid: i32| is_of_session(pid, leader) || u32::try_from(pid).is_ok_and(&is_own);
            if sender.is_some_and(|sender| may_speak(sender.pid())) {
                return Ok(Notice::all_of(&datagram));
            }
            tracing::debug!(?sender, "somebody else speaks for the app, and is not heard");
            self.done()?;
        }
    }

    /// What was said last is done with.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn done(&self) -> io::Result<()> {
        receive(&self.socket, MsgFlags::empty()).map(drop)
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn receive(
    socket: &UnixDatagram,
    more: MsgFlags,
) -> io::Result<(Vec<u8>, Option<UnixCredentials>)> {
    let mut bytes = [0; 4096];
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | more;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let sender = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(sender) => Some(sender),
        _ => None,
    });
    let length = received.bytes;
    Ok((bytes[..length].to_vec(), sender))
}

/// Most processes of an app belong to the session that its first process leads.
fn is_of_session(pid: i32, leader: u32) -> bool {
    getsid(Some(Pid::from_raw(pid)))
        .is_ok_and(|session| i64::from(session.as_raw()) == i64::from(leader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_says_several_things() {
        let said = Notice::all_of(
            b"READY=1\nSTATUS=warming up = slow\nMAINPID=4\nX\n\xff=1\nWATCHDOG=1\n\
              EXTEND_TIMEOUT_USEC=1500000\nEXTEND_TIMEOUT_USEC=soon\nSTOPPING=1\nWATCHDOG=trigger",
        );
        let status = Notice::Status("warming up = slow".into());
        let extend = Notice::Extend(Duration::from_millis(1500));
        let (alive, unwell) = (Notice::Alive, Notice::Unwell);
        assert_eq!(said, [Notice::Ready, status, alive, extend, Notice::Stopping, unwell]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_the_sessions_own_are_heard_and_what_waits_is_taken_over() {
        let socket = NotifySocket::open().unwrap();
        let held = socket.as_fd().try_clone_to_owned().unwrap();
        let name = socket.name().trim_start_matches('@').to_owned();
        let to = UnixAddr::from_abstract_name(&name).unwrap();
        let app = StdDatagram::unbound().unwrap();
        app.send_to_addr(b"READY=1", &to).unwrap();
        drop(socket);
        app.send_to_addr(b"STATUS=x", &to).unwrap();
        let socket = NotifySocket::take_over(held).unwrap();
        let session = getsid(None).unwrap().as_raw().cast_unsigned();
        for _ in 0..2 {
            assert_eq!(socket.next(session, |_| false).await.unwrap(), [Notice::Ready]);
        }
        socket.done().unwrap();
        let other =
            tokio::time::timeout(Duration::from_millis(50), socket.next(session + 1, |_| false));
        assert!(other.await.is_err());
        app.send_to_addr(b"STATUS=y", &to).unwrap();
        let known = socket.next(session + 1, |pid| pid == std::process::id()).await.unwrap();
        assert_eq!(known, [Notice::Status("y".into())]);
        assert_eq!(socket.next(session, |_| false).await.unwrap(), [Notice::Status("y".into())]);
    }
}
