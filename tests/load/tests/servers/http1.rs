//! HTTP/1.1.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use load::{Failure, Load, Plan};

use crate::bed::{assert_all_failed, load};
use socket2::SockRef;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"release\":7}";
const LAST_ANSWER: &str =
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\n{\"release\":7}";

/// Gives every connection to `serve`, one after another, for as long as the process lives.
fn server(serve: impl Fn(Connection) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(Connection(stream.expect("accept")));
        }
    });
    address
}

struct Connection(TcpStream);

impl Connection {
    /// Reads one request; false where the client has ended the connection.
    fn request(&mut self) -> bool {
        let mut read = Vec::new();
        let mut buffer = [0; 512];
        while !read.ends_with(b"\r\n\r\n") {
            match self.0.read(&mut buffer) {
                Ok(0) | Err(_) => return false,
                Ok(count) => read.extend_from_slice(&buffer[..count]),
            }
        }
        true
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("write");
    }

    fn reset(self) {
        SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).expect("linger");
    }
}

/// A port where nobody listens, and that nobody else gets while the socket lives.
fn closed_port() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    let address = socket.local_addr().expect("an address").as_socket().expect("TCP");
    (address, socket)
}

#[test]
fn refused() {
    let (address, _held) = closed_port();
    assert_all_failed(Plan::new(address), Failure::Refused);
}

#[test]
fn reset_before_an_answer() {
    let address = server(|mut connection| {
        connection.request();
        connection.reset();
    });
    assert_all_failed(Plan::new(address), Failure::Reset);
    assert_all_failed(Plan::new(address).keep_alive(), Failure::Reset);
}

#[test]
fn reset_without_reading() {
    let address = server(Connection::reset);
    assert_all_failed(Plan::new(address), Failure::Reset);
}

#[test]
fn cut_before_an_answer() {
    let address = server(|mut connection| {
        connection.request();
    });
    assert_all_failed(Plan::new(address), Failure::EndBefore);
    assert_all_failed(Plan::new(address).keep_alive(), Failure::EndBefore);
}

#[test]
fn cut_in_an_answer() {
    let address = server(|mut connection| {
        connection.request();
        connection.say(&ANSWER[..ANSWER.len() - 1]);
    });
    assert_all_failed(Plan::new(address), Failure::EndWithin);
}

#[test]
fn timeout() {
    let (sender, held) = std::sync::mpsc::channel();
    let address = server(move |connection| sender.send(connection).expect("held"));
    let plan = Plan { timeout: Duration::from_millis(50), ..Plan::new(address) };
    assert_all_failed(plan, Failure::Timeout);
    drop(held);
}

#[test]
fn bad_status() {
    let address = server(|mut connection| {
        connection.request();
        connection.say("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy");
    });
    let tally = load(Plan::new(address), |tally| tally.requests() >= 3);
    assert_eq!(tally.failed_by(Failure::BadStatus), tally.requests(), "{tally}");
    assert_eq!(tally.examples[&Failure::BadStatus], "503 busy");
}

#[test]
fn malformed() {
    let address = server(|mut connection| {
        connection.request();
        connection.say("220 smtp.example.com ESMTP\r\n");
    });
    assert_all_failed(Plan::new(address), Failure::Malformed);
}

#[test]
fn an_answer_that_is_not_this_requests_own() {
    let address = server(|mut connection| {
        connection.request();
        connection.say("HTTP/1.1 200 OK\r\nx-request-id: 9-9\r\ncontent-length: 0\r\n\r\n");
    });
    assert_all_failed(Plan::new(address).echoed(), Failure::WrongAnswer);
    // It counts only where the server is known to give ids back.
    let tally = load(Plan::new(address), |tally| tally.answered >= 3);
    assert_eq!(tally.failed(), 0, "{tally}");
    let address = server(|mut connection| {
        connection.request();
        connection.say(LAST_ANSWER);
    });
    assert_all_failed(Plan::new(address).echoed(), Failure::WrongAnswer);
}

#[test]
fn a_new_connection_for_each_request() {
    let address = server(|mut connection| {
        if connection.request() {
            connection.say(LAST_ANSWER);
        }
    });
    let tally = load(Plan::new(address), |tally| tally.answered >= 10);
    assert_eq!((tally.failed(), tally.opened), (0, tally.requests()), "{tally}");
    assert_eq!(tally.answered_by(7), tally.answered, "{tally}");
}

#[test]
fn one_connection_for_all_requests() {
    let address = server(|mut connection| {
        while connection.request() {
            connection.say(ANSWER);
        }
    });
    let tally = load(Plan::new(address).keep_alive(), |tally| tally.answered >= 10);
    assert_eq!((tally.failed(), tally.opened), (0, 1), "{tally}");
}

#[test]
fn the_word_close_is_followed_without_a_failure() {
    let address = server(|mut connection| {
        connection.request();
        connection.say(ANSWER);
        connection.request();
        connection.say(LAST_ANSWER);
    });
    let tally = load(Plan::new(address).keep_alive(), |tally| tally.answered >= 10);
    assert_eq!((tally.failed(), tally.closed_idle), (0, 0), "{tally}");
    assert_eq!(tally.told_to_close, tally.answered / 2, "{tally}");
    assert_eq!(tally.opened, tally.answered.div_ceil(2), "{tally}");
}

#[test]
fn an_end_between_requests_is_no_failure_and_one_on_a_request_is() {
    // Its client rests for so long that the end is there before the next request.
    let plan = |address| Plan { pause: Duration::from_millis(100), ..Plan::new(address) };
    let address = server(|mut connection| {
        connection.request();
        connection.say(ANSWER);
    });
    let load_slowly = Load::start(Plan { clients: 1, ..plan(address).keep_alive() });
    let load_slowly = load_slowly.expect("the load starts");
    let limit = Instant::now() + Duration::from_secs(20);
    while load_slowly.tally().answered < 3 {
        assert!(Instant::now() < limit, "{}", load_slowly.tally());
        thread::sleep(Duration::from_millis(10));
    }
    let tally = load_slowly.stop();
    assert_eq!((tally.failed(), tally.told_to_close), (0, 0), "{tally}");
    assert_eq!(tally.closed_idle, tally.answered - 1, "{tally}");

    let address = server(|mut connection| {
        connection.request();
        connection.say(ANSWER);
        connection.request();
    });
    let tally = load(Plan::new(address).keep_alive(), |tally| tally.requests() >= 10);
    assert_eq!(tally.failed_by(Failure::EndBefore), tally.failed(), "{tally}");
    assert_eq!(tally.failed(), tally.requests() / 2, "{tally}");
}

#[test]
fn what_is_due_is_waited_for_at_the_end() {
    let address = server(|mut connection| {
        if connection.request() {
            thread::sleep(Duration::from_millis(300));
            connection.say(LAST_ANSWER);
        }
    });
    let load = Load::start(Plan { clients: 1, ..Plan::new(address) }).expect("the load starts");
    thread::sleep(Duration::from_millis(100));
    let tally = load.stop();
    assert_eq!((tally.answered, tally.failed()), (1, 0), "{tally}");
    assert!(tally.latency(100.0) >= Duration::from_millis(300), "{tally}");
}
