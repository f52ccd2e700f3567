//! `TEST_LINES=n`: so many counted lines a second on each stream, each in one write.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// Begins to write them, if they are wanted.
pub(crate) fn begin() {
    let rate = std::env::var("TEST_LINES").ok().and_then(|rate| rate.parse::<u32>().ok());
    let Some(rate) = rate.filter(|rate| *rate > 0) else { return };
    let pause = Duration::from_secs(1) / rate;
    thread::spawn(move || write(io::stdout(), pause));
    thread::spawn(move || write(io::stderr(), pause));
}

fn write(mut stream: impl Write, pause: Duration) {
    let pid = std::process::id();
    for number in 1_u64.. {
        let line = format!("line {pid} {number}\n");
        if let Err(error) = stream.write_all(line.as_bytes()).and_then(|()| stream.flush()) {
            panic!("nobody takes the output: {error}");
        }
        thread::sleep(pause);
    }
}
