//! Where an app binds that is handed no socket.

use std::env;
use std::net::SocketAddr;

/// Loopback and `PORT`.
pub(crate) fn local() -> SocketAddr {
    let port = env::var("PORT").expect("PORT").parse().expect("a number");
    SocketAddr::from(([127, 0, 0, 1], port))
}
