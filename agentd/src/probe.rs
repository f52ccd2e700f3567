//! One HTTP request, asked of a health path.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A socket for a probe, and the source port that it will come from.
///
/// # Errors
/// What the kernel says.
pub fn socket(to: SocketAddr) -> io::Result<(TcpSocket, u16)> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let ip = to.ip();
    let any = if to.is_ipv4() {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    let from = if ip.is_unspecified() { any } else { ip };
    socket.bind(SocketAddr::new(from, 0))?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

/// Asks `GET path` over this connection, and gives the answer's status.
///
/// # Errors
/// When nothing that looks like HTTP comes back within the time.
pub async fn ask(mut stream: TcpStream, path: &str, timeout: Duration) -> io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: engineer-agentd\r\nConnection: close\r\n\r\n"
    );
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        // The status line is at most that long for any server worth asking.
        let mut answer = [0; 64];
        let mut length = 0;
        while length < answer.len() && !answer[..length].contains(&b'\n') {
            match stream.read(&mut answer[length..]).await? {
                0 => break,
                read => length += read,
            }
        }
        status(&answer[..length])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
    };
    tokio::time::timeout(timeout, exchange).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// `HTTP/1.1 200 OK` is 200.
fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.split(|byte| *byte == b'\n').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    version.starts_with("HTTP/").then_some(())?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_and_nothing_else_is_taken_for_it() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503"), Some(503));
        for bad in [&b""[..], b"HTTP/1.1", b"HTTP/1.1 2", b"SSH-2.0 200 x", b"\xff 200"] {
            assert_eq!(status(bad), None);
        }
    }
}
