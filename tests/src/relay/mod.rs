//! A link with a delay and a rate, between this process's network and another one of its own.
//!
//! ```text
//!   the process's threads                        the far thread, in a network of its own
//!        near ── tun ──▶ read ─▶ Queue ─▶ wait ─▶ write ──▶ tun ── far
//!             ◀── tun ── write ◀─ wait ◀─ Queue ◀─ read ◀── tun
//! ```
//!
//! Whole packets go through it, so it is the kernel's own TCP that lives with the delay: with its
//! windows, its losses where the queue is full, and its half-open connections, which a loopback
//! hides. It takes root, in a user namespace's sense: `unshare --user --map-root-user --net` will
//! do. Nothing is left behind: networks and devices go with the threads and files that hold them.

mod far;
mod pump;
mod shape;
mod tun;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};

pub use self::far::Far;
use self::pump::Pump;
pub use self::pump::{Carried, Count};
pub use self::shape::Shape;
use self::tun::Tun;

/// A link, and the thread at its far end.
#[derive(Debug)]
pub struct Link {
    /// This end's address.
    pub near: Ipv4Addr,
    /// The other end's.
    pub far: Ipv4Addr,
    pumps: [Pump; 2],
    end: Far,
}

impl Link {
    /// A link with this shape in both directions.
    ///
    /// # Errors
    /// When there are no networks or TUN devices of one's own to be had here.
    pub fn new(shape: Shape) -> anyhow::Result<Self> {
        static LINKS: AtomicU32 = AtomicU32::new(0);
        let number = u8::try_from(LINKS.fetch_add(1, Ordering::Relaxed))?;
        let [near, far] = [1, 2].map(|end| Ipv4Addr::new(10, 99, number, end));
        let name = format!("link{number}");
        let here = open(&name, near, far)?;
        let end = Far::new().context("no network of one's own is allowed here")?;
        let there = end.run({
            let name = name.clone();
            move || {
                ip(&["link", "set", "lo", "up"])?;
                open(&name, far, near)
            }
        })??;
        let (here, there) = (Arc::new(here), Arc::new(there));
        let up = Pump::start(here.clone(), there.clone(), shape)?;
        let down = Pump::start(there, here, shape)?;
        Ok(Self { near, far, pumps: [up, down], end })
    }

    /// Runs something on the far end's thread. Threads and programs that it starts are there too.
    ///
    /// # Errors
    /// When that thread has ended.
    pub fn at_far<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        self.end.run(run)
    }

    /// What has gone over it.
    pub fn carried(&self) -> Carried {
        let [up, down] = self.pumps.each_ref().map(Pump::count);
        Carried { up, down }
    }
}

/// Opens the device of an end and brings it up, in the calling thread's network.
fn open(name: &str, own: Ipv4Addr, other: Ipv4Addr) -> anyhow::Result<Tun> {
    let tun = Tun::open(name).context("no TUN device can be had here")?;
    ip(&["address", "add", &own.to_string(), "peer", &other.to_string(), "dev", name])?;
    // The device's own queue must not drop what the link's would keep.
    ip(&["link", "set", name, "up", "txqueuelen", "4000"])?;
    Ok(tun)
}

/// Runs `ip` in the calling thread's network.
///
/// # Errors
/// What it says.
pub fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).output().context("`ip` cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip {}`: {}", args.join(" "), said.trim());
    Ok(())
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    /// One that this process may have, or a word why not.
    fn link(shape: Shape) -> Option<Link> {
        match Link::new(shape) {
            Ok(link) => Some(link),
            Err(error) => {
                println!("skipped: {error:#}");
                None
            }
        }
    }

    #[test]
    fn a_connection_takes_its_round_trips_and_its_bytes_their_time() -> io::Result<()> {
        let delay = Duration::from_millis(10);
        let shape = Shape { delay, rate: Some(20_000_000), queue: Duration::from_millis(100) };
        let Some(link) = link(shape) else { return Ok(()) };
        let far = link.far;
        let listener = link.at_far(move || TcpListener::bind((far, 0))).unwrap()?;
        let address = listener.local_addr()?;
        let began = Instant::now();
        let mut near = TcpStream::connect(address)?;
        let took = began.elapsed();
        assert!(took >= 2 * delay, "{took:?}");
        let (mut there, _) = listener.accept()?;
        let megabyte = std::thread::spawn(move || near.write_all(&[7; 1_000_000]));
        let began = Instant::now();
        let mut got = Vec::new();
        there.read_to_end(&mut got)?;
        megabyte.join().expect("the writer")?;
        let took = began.elapsed();
        assert_eq!(got.len(), 1_000_000);
        assert!(took > Duration::from_millis(380), "8 Mbit at 20 Mbit/s took {took:?}");
        assert!(link.carried().up.bytes > 1_000_000);
        Ok(())
    }
}
