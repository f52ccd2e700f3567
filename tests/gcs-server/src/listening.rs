//! The port: taken for the server's whole life, and listened on unless it is away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::connection::{self, Counted};
use crate::faults::Outage;
use crate::world::World;

/// How long to wait when the system cannot take a connection: it has too many files open.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// A port that stays this server's while nobody listens on it.
#[derive(Debug)]
pub(crate) struct Port {
    socket: Socket,
}

impl Port {
    /// Takes a port of an address of this machine; 0 for one that is free.
    pub(crate) fn take(address: Ipv4Addr, port: u16) -> io::Result<Self> {
        Ok(Self { socket: bound(SocketAddr::from((address, port)))? })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or_else(|| io::Error::other("no address of the internet's"))
    }

    /// Begins to listen.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = bound(self.address()?)?;
        socket.listen(1024)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // After a restart the port of connections that linger can be taken at once; and the two
    // sockets of this server share theirs.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Takes connections until it is told to stop.
pub(crate) async fn run(
    world: Arc<World>,
    port: Port,
    first: TcpListener,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut outage = world.faults.outage();
    let mut listener = Some(first);
    loop {
        let mut connections = JoinSet::new();
        let listening = match listener.take() {
            Some(listener) => listener,
            None => port.listen()?,
        };
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = outage.wait_for(|outage| *outage == Outage::Refuse) => break,
                Some(_) = connections.join_next() => {}
                accepted = listening.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connect(Arc::clone(&world), stream, tls.clone()));
                    }
                    Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
                },
            }
        }
        // Both cut what is there.
        drop((listening, connections));
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            _ = outage.wait_for(|outage| *outage != Outage::Refuse) => {}
        }
    }
}

async fn connect(world: Arc<World>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    world.stats.count_connection();
    // It only makes small answers faster.
    let _ = stream.set_nodelay(true);
    let stream = Counted { stream, stats: world.stats.clone() };
    match tls {
        None => connection::serve(world, stream).await,
        // A client that does not trust the certificate goes away in the handshake.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                connection::serve(world, stream).await;
            }
        }
    }
}
