//! Appends its process id and the kernel's monotonic clock in microseconds to the file that is named,
//! and waits until it is told to end.

use std::io::Write;
use std::time::Duration;

fn main() {
    let now = nix::time::ClockId::CLOCK_MONOTONIC.now().expect("every Linux has this clock");
    let micros = Duration::from(now).as_micros();
    let path = std::env::args().nth(1).expect("a file's name");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let line = format!("{} {micros}\n", std::process::id());
    file.expect("the file").write_all(line.as_bytes()).expect("a line");
    loop {
        std::thread::park();
    }
}
