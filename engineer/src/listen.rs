//! Where an app gets its listening sockets from.

use std::env;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::contract;
use crate::handed::{self, Handed};

/// As long as the agent makes its own sockets' queues; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The app's listener for `addr`.
///
/// Where sockets were handed over, it is the one for `addr`'s port, or, where none has that port,
/// the first that was not taken yet: so listen on the app's public ports first, in the order of its
/// settings, and bind private ones with tokio itself. Otherwise the listener is bound with
/// `SO_REUSEPORT` as by [`bind_reusable`]; the first one so bound takes its port from `PORT`,
/// where that is set, instead of from `addr`.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = engineer::listen("0.0.0.0:8080")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// When `addr` has no address, cannot be bound, or what was handed over is no listening socket.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn listen(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let wanted: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = match &mut *sources {
        Some(sources) => sources,
        empty => empty.insert(Sources::of_the_process()?),
    };
    match sources.next(wanted) {
        Source::Handed(handed) => TcpListener::from_std(handed.listener),
        Source::Bind(addresses) => bind_first(&addresses),
    }
}

/// Binds `addr` with `SO_REUSEPORT`, so that a newer version can bind it beside this one, whatever
/// was handed over.
///
/// # Errors
/// When `addr` has no address, or none of its addresses can be bound.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn bind_reusable(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
    bind_first(&addr.to_socket_addrs()?.collect::<Vec<_>>())
}

static SOURCES: Mutex<Option<Sources>> = Mutex::new(None);

/// What the process was given and has not used yet.
#[derive(Debug)]
struct Sources {
    handed: Vec<Handed>,
    port: Option<u16>,
}

#[derive(Debug)]
enum Source {
    Handed(Handed),
    Bind(Vec<SocketAddr>),
}

impl Sources {
    fn of_the_process() -> io::Result<Self> {
        let handed = handed::take()?;
        // PORT says what to bind where nothing was handed.
        let port = if handed.is_empty() { port(env::var(contract::PORT).ok())? } else { None };
        Ok(Self { handed, port })
    }

    fn next(&mut self, mut wanted: Vec<SocketAddr>) -> Source {
        if !self.handed.is_empty() {
            let is_wanted = |handed: &Handed| {
                wanted.iter().any(|address| handed.name == address.port().to_string())
            };
            let index = self.handed.iter().position(is_wanted).unwrap_or(0);
            return Source::Handed(self.handed.remove(index));
        }
        if let Some(port) = self.port.take() {
            wanted.iter_mut().for_each(|address| address.set_port(port));
        }
        Source::Bind(wanted)
    }
}

fn port(value: Option<String>) -> io::Result<Option<u16>> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => value.parse().map(Some).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("PORT={value} is not a port"))
        }),
        None => Ok(None),
    }
}

fn bind_first(addresses: &[SocketAddr]) -> io::Result<TcpListener> {
    let none = io::Error::new(io::ErrorKind::InvalidInput, "there is no address to listen on");
    let mut last = Err(none);
    for address in addresses {
        last = bind(*address).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        });
        if last.is_ok() {
            break;
        }
    }
    last
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(name: &str) -> Handed {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        Handed { name: name.to_owned(), listener }
    }

    fn at(port: u16) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], port))]
    }

    fn name(source: Source) -> String {
        match source {
            Source::Handed(handed) => handed.name,
            Source::Bind(addresses) => format!("bind {}", addresses[0]),
        }
    }

    #[test]
    fn the_handed_socket_of_that_port_comes_first_then_any_other() {
        let mut sources = Sources { handed: vec![handed("80"), handed("443")], port: None };
        assert_eq!(name(sources.next(at(443))), "443");
        assert_eq!(name(sources.next(at(8080))), "80");
        assert_eq!(name(sources.next(at(9090))), "bind 127.0.0.1:9090");
    }

    #[test]
    fn the_first_that_is_bound_takes_the_port_of_the_environment() {
        let mut sources = Sources { handed: Vec::new(), port: Some(5000) };
        assert_eq!(name(sources.next(at(80))), "bind 127.0.0.1:5000");
        assert_eq!(name(sources.next(at(81))), "bind 127.0.0.1:81");
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        assert_eq!(port(None).expect("none"), None);
        assert_eq!(port(Some(String::new())).expect("none"), None);
        assert_eq!(port(Some("80".to_owned())).expect("a port"), Some(80));
        let error = port(Some("http".to_owned())).expect_err("no port");
        assert_eq!(error.to_string(), "PORT=http is not a port");
    }

    #[tokio::test]
    async fn two_versions_listen_on_one_port() {
        let old = bind_reusable("127.0.0.1:0").expect("the old one");
        let address = old.local_addr().expect("an address");
        let new = bind_reusable(address).expect("the new one");
        assert_eq!(new.local_addr().expect("an address"), address);
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = taken.local_addr().expect("an address");
        let error = bind_reusable(address).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&format!("cannot listen on {address}")), "{error}");
    }
}
