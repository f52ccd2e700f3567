//! The least that serves HTTP: one thread and one request for each connection. It knows nothing of
//! whoever started it, does nothing at its end, and links nothing that would.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Says who answers, until it is ended.
pub(crate) fn serve(listener: &TcpListener) -> ! {
    println!("listening on {}", listener.local_addr().expect("an address"));
    loop {
        match listener.accept() {
            Ok((stream, _)) => _ = thread::spawn(|| answer(stream)),
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
}

/// What fails on a connection is its client's to count.
fn answer(mut stream: TcpStream) {
    let mut request = BufReader::new(&stream).lines().map_while(Result::ok);
    let Some(first) = request.next() else { return };
    if !request.any(|line| line.is_empty()) {
        return;
    }
    let body = match first.split(' ').nth(1) {
        Some("/health") => "ok".to_owned(),
        _ => format!(
            "{{\"release\":{},\"pid\":{}}}",
            env::var("ENGR_VERSION").unwrap_or_else(|_| "0".to_owned()),
            std::process::id()
        ),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes());
}
