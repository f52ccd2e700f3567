//! What passes between the launcher and the agent: one JSON message a packet, with at most one
//! descriptor, on a socket pair of packets whose number the agent finds in [`LINK`].
//!
//! Old and new programs meet here: an agent may be newer or older than its launcher. Messages are
//! added, never changed, and what is not understood is left out.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use deploy::Digest;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The variable with the number of the agent's end.
pub const LINK: &str = "ENGR_LAUNCHER_FD";

/// The variable with the launcher's version: of the program that the instance was made with.
pub const LAUNCHER_VERSION: &str = "ENGR_LAUNCHER_VERSION";

/// How often the agent says [`ToLauncher::Alive`].
pub const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// The longest message: names and digests, and up to 256 ends.
const MESSAGE_MAX: usize = 64 * 1024;

/// How long an agent may take to make room for a message, when it is one that must come through.
const SEND_MAX: Duration = Duration::from_secs(5);

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToLauncher {
    /// Keep this descriptor under this name, in place of an earlier one.
    Hold(String),
    /// Close the one of this name.
    Drop(String),
    /// Send all that is held: [`ToAgent::Held`], and then [`ToAgent::Given`].
    Give,
    /// The agent is up.
    Up,
    /// Its loop moves.
    Alive,
    /// What it does, in words, for the service manager.
    Status(String),
    /// This process is about to become another agent, the file of this name in the folder of
    /// agents, and is on trial from then on.
    Try(Digest),
    /// It could not become that agent, and goes on as what it is.
    CallOff,
    /// The agent that runs, of this digest, is good: the one to go back to.
    Good(Digest),
}

/// What the launcher says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToAgent {
    /// Comes with the descriptor that is held under this name.
    Held(String),
    /// That was all; and so ended what was reaped here.
    Given(Vec<Ended>),
    /// A process that was reaped here has ended.
    Ended(Ended),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub pid: i32,
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, signal, .. } = *self;
        crate::switch::Exit { code, signal, ..Default::default() }.fmt(f)
    }
}

/// Sends a message, if there is room for it now.
///
/// # Errors
/// What the kernel says, `WouldBlock` where the other side does not read.
pub fn send(
    link: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let parts = [io::IoSlice::new(&text)];
    let descriptors: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(link.as_raw_fd(), &parts, rights, flags, None)?;
    Ok(())
}

/// The same, and waits up to 5 s for room.
///
/// # Errors
/// What the kernel says, `TimedOut` where the other side does not read.
pub fn send_within(
    link: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    loop {
        match send(link, message, descriptor) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                await_event(link, PollFlags::POLLOUT)?;
            }
            sent => return sent,
        }
    }
}

/// Waits up to 5 s until the other side has said something.
///
/// # Errors
/// What the kernel says, `TimedOut` where it said nothing.
pub fn await_message(link: BorrowedFd<'_>) -> io::Result<()> {
    await_event(link, PollFlags::POLLIN)
}

fn await_event(link: BorrowedFd<'_>, event: PollFlags) -> io::Result<()> {
    let timeout = PollTimeout::try_from(SEND_MAX).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(link, event)], timeout) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the next message; `None` when there is none now.
///
/// # Errors
/// `UnexpectedEof` when the other side is gone, `InvalidData` for what is no message.
pub fn receive<T: DeserializeOwned>(
    link: BorrowedFd<'_>,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut text = vec![0; MESSAGE_MAX];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [io::IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = match recvmsg::<()>(link.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Ok(received) => received,
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut descriptor = None;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            for raw in descriptors {
                // SAFETY: the kernel has just made this descriptor for this process.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
    }
    let length = received.bytes;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = serde_json::from_slice(&text[..length])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((message, descriptor)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_comes_with_its_message() {
        let (ours, theirs) = super::super::agent::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(ours.as_fd(), &ToLauncher::Hold("out-3".into()), Some(writer.as_fd())).unwrap();
        send(ours.as_fd(), &ToLauncher::Up, None).unwrap();
        drop((writer, ours));
        let (message, descriptor) = receive::<ToLauncher>(theirs.as_fd()).unwrap().unwrap();
        assert_eq!(message, ToLauncher::Hold("out-3".into()));
        let mut writer = std::fs::File::from(descriptor.unwrap());
        writer.write_all(b"held").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "held");
        let (message, descriptor) = receive::<ToLauncher>(theirs.as_fd()).unwrap().unwrap();
        assert!(message == ToLauncher::Up && descriptor.is_none());
        let gone = receive::<ToLauncher>(theirs.as_fd()).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_word_of_a_newer_program_is_no_end() {
        let (ours, theirs) = super::super::agent::pair().unwrap();
        send(ours.as_fd(), &"a-newer-word", None).unwrap();
        send(ours.as_fd(), &ToLauncher::Alive, None).unwrap();
        let unknown = receive::<ToLauncher>(theirs.as_fd()).unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::InvalidData);
        let (known, _) = receive::<ToLauncher>(theirs.as_fd()).unwrap().unwrap();
        assert_eq!(known, ToLauncher::Alive);
        assert!(receive::<ToLauncher>(theirs.as_fd()).unwrap().is_none());
    }
}
