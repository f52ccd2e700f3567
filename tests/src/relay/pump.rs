//! One direction of a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

use super::shape::{Queue, Shape};
use super::tun::Tun;

/// How soon a pump sees that it is to end.
const LOOK_EVERY: u8 = 100;

/// The largest packet of a device with the usual MTU of 1500.
const PACKET_MAX: usize = 2048;

/// Packets that went one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// How many.
    pub packets: u64,
    /// Their bytes, with the heads of IP and TCP.
    pub bytes: u64,
    /// How many more were lost, because the queue was full.
    pub lost: u64,
}

/// Packets that went over a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// From the near end to the far one.
    pub up: Count,
    /// Back.
    pub down: Count,
}

#[derive(Debug, Default)]
struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    is_over: AtomicBool,
}

/// Two threads: one takes packets in, one lets them out at their time.
#[derive(Debug)]
pub(super) struct Pump {
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

impl Pump {
    pub(super) fn start(from: Arc<Tun>, to: Arc<Tun>, shape: Shape) -> std::io::Result<Self> {
        let counters = Arc::<Counters>::default();
        let (send, due) = mpsc::channel();
        let taking = super::thread("link-in").spawn({
            let counters = counters.clone();
            move || take(&from, shape, &counters, &send)
        })?;
        let letting = super::thread("link-out").spawn(move || let_out(&to, due))?;
        Ok(Self { counters, threads: vec![taking, letting] })
    }

    pub(super) fn count(&self) -> Count {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { packets, bytes, lost, .. } = &*self.counters;
        Count { packets: get(packets), bytes: get(bytes), lost: get(lost) }
    }
}

fn take(from: &Tun, shape: Shape, counters: &Counters, send: &mpsc::Sender<(Instant, Vec<u8>)>) {
    let (mut queue, mut packet) = (Queue::new(shape), [0; PACKET_MAX]);
    while !counters.is_over.load(Ordering::Relaxed) {
        // The device cannot be read when its network is going.
        let Ok(read) = from.read(&mut packet, PollTimeout::from(LOOK_EVERY)) else { return };
        let Some(bytes) = read else { continue };
        let Some(at) = queue.put(Instant::now(), bytes) else {
            counters.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        counters.packets.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if send.send((at, packet[..bytes].to_vec())).is_err() {
            return;
        }
    }
}

fn let_out(to: &Tun, due: mpsc::Receiver<(Instant, Vec<u8>)>) {
    for (at, packet) in due {
        let wait = at.saturating_duration_since(Instant::now());
        if wait > Duration::ZERO {
            thread::sleep(wait);
        }
        // A packet that the kernel does not take is a lost one, as on any link.
        let _ = to.write(&packet);
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.counters.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // They have nothing to tell.
            let _ = thread.join();
        }
    }
}
