//! An app that takes the socket that it is handed (sd_listen_fds(3)), and says nothing of its
//! readiness.

#[path = "plain/serve.rs"]
mod serve;

use std::env;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};

fn main() {
    let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    assert!(is_ours && env::var("LISTEN_FDS").as_deref() == Ok("1"), "one socket is handed");
    // SAFETY: the variables say that descriptor 3 is this process's, and nobody else takes it.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(3) });
    listener.set_nonblocking(false).expect("a blocking socket");
    serve::serve(&listener)
}
