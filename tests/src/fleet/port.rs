//! Free ports.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// A port of 127.0.0.1 that nobody else of this process gets: below those that `engr` gives to instances, and so also below those
/// that the kernel gives to outgoing connections.
///
/// # Panics
/// When all are taken.
pub fn free() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 10_000;
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Where another process looks too it starts elsewhere.
    let start = std::process::id().wrapping_mul(7919);
    let ports =
        (0..COUNT).map(|step| FIRST + ((start + u32::from(step)) % u32::from(COUNT)) as u16);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for port in ports {
        if !taken.contains(&port) && is_free(port) {
            taken.insert(port);
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}
