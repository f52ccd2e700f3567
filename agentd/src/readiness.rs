//! When a new process is ready.
//!
//! All the evidence that the app can give must be there: `READY=1` on its notify socket if its
//! code speaks that protocol, and an answer of its health path if it has one. An app that offers
//! neither is ready when it is still alive after five seconds.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use deploy::settings::Health;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How long an app that says nothing must live until it is taken for ready.
const SILENT_READY_AFTER: Duration = Duration::from_secs(5);

/// The pause between two questions to the health path.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The variables by which the protocols are known.
const LISTEN_FDS: &str = "LISTEN_FDS";
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const NAME_MAX: usize = NOTIFY_SOCKET.len() - 1;

/// How much of a file is looked at in one go.
const PIECE: usize = 256 * 1024;

/// What an app's code can do, as far as its bytes tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// It takes sockets that it is handed.
    pub takes_sockets: bool,
    /// It says when it is ready.
    pub tells_readiness: bool,
}

impl Abilities {
    /// Looks for the protocols' variables in the bytes of an artifact's files. An app that speaks
    /// a protocol must have the variable's name somewhere; one that has the name without using it
    /// is found out when it runs.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of_files(folder: &std::path::Path) -> io::Result<Self> {
        let mut found = Self::default();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let more = if kind.is_dir() {
                Self::of_files(&entry.path())?
            } else if kind.is_file() {
                Self::of_reader(std::fs::File::open(entry.path())?)?
            } else {
                continue;
            };
            found = found.and(more);
        }
        Ok(found)
    }

    /// Reads in pieces: an artifact may be larger than the agent ought to be.
    fn of_reader(mut reader: impl io::Read) -> io::Result<Self> {
        let mut piece = vec![0; PIECE];
        let mut found = Self::default();
        let mut kept = 0;
        loop {
            let read = reader.read(&mut piece[kept..])?;
            let filled = kept + read;
            found = found.and(Self::of_bytes(&piece[..filled]));
            if read == 0 {
                return Ok(found);
            }
            // A name may begin at the end of this piece.
            let tail = filled.saturating_sub(NAME_MAX);
            piece.copy_within(tail..filled, 0);
            kept = filled - tail;
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let contains = |name: &str| memchr::memmem::find(bytes, name.as_bytes()).is_some();
        Self { takes_sockets: contains(LISTEN_FDS), tells_readiness: contains(NOTIFY_SOCKET) }
    }

    fn and(self, more: Self) -> Self {
        Self {
            takes_sockets: self.takes_sockets || more.takes_sockets,
            tells_readiness: self.tells_readiness || more.tells_readiness,
        }
    }
}

/// Waits until the process is ready. Its end, and its deadline, are for others to see.
///
/// `said` becomes true when the app has said that it is ready. `lead` is told the source port of each probe before it is sent, and `None` after it.
///
/// # Errors
/// What the kernel says about the sockets that this takes.
pub async fn wait(
    abilities: Abilities,
    said: &mut watch::Receiver<bool>,
    health: Option<(&Health, SocketAddr)>,
    mut lead: impl FnMut(Option<u16>),
) -> io::Result<()> {
    if abilities.tells_readiness {
        until_said(said).await;
    }
    match health {
        Some((health, address)) => until_healthy(health, address, &mut lead).await,
        None if abilities.tells_readiness => Ok(()),
        None => {
            // It may speak though its bytes do not show it (a packed executable).
            tokio::select! {
                () = until_said(said) => Ok(()),
                () = tokio::time::sleep(SILENT_READY_AFTER) => Ok(()),
            }
        }
    }
}

/// Waits until the app has said it. One that cannot be heard any more never says it.
async fn until_said(said: &mut watch::Receiver<bool>) {
    if said.wait_for(|said| *said).await.is_err() {
        std::future::pending().await
    }
}

async fn until_healthy(
    health: &Health,
    address: SocketAddr,
    lead: &mut impl FnMut(Option<u16>),
) -> io::Result<()> {
    loop {
        let (socket, port) = crate::probe::socket(address)?;
        lead(Some(port));
        let asked = async {
            let stream = socket.connect(address).await?;
            crate::probe::ask(stream, &health.path, health.timeout.0).await
        };
        let answer = tokio::time::timeout(health.timeout.0, asked).await;
        lead(None);
        match answer {
            Ok(Ok(200..=399)) => return Ok(()),
            Ok(Ok(status)) => tracing::debug!(status, "the health path does not answer 2xx yet"),
            Ok(Err(error)) => tracing::debug!(%error, "the health path does not answer yet"),
            Err(_) => tracing::debug!("the health path does not answer in time"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_found_wherever_its_variable_stands() {
        for at in [0, 1, PIECE - NAME_MAX - 1, PIECE - 5, PIECE - 1, PIECE, 2 * PIECE + 3] {
            let mut bytes = vec![b'x'; at];
            bytes.extend_from_slice(b"NOTIFY_SOCKET");
            let found = Abilities::of_reader(&bytes[..]).unwrap();
            assert!(found.tells_readiness && !found.takes_sockets, "at {at}");
        }
        let both = Abilities::of_reader(&b"NOTIFY_SOCKETLISTEN_FDS"[..]).unwrap();
        assert!(both.tells_readiness && both.takes_sockets);
        assert_eq!(Abilities::of_reader(&b"LISTEN_FD"[..]).unwrap(), Abilities::default());
    }
}
