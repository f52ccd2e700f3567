//! When an old version has nothing left to do: what its processes hold, as the kernel shows it
//! under `/proc`.

use std::collections::HashSet;
use std::io;
use std::path::Path;

/// The states of a TCP socket that matter here, as `/proc/net/tcp` shows them (`net/tcp_states.h`).
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";
const LISTEN: &str = "0A";

/// The sockets of an app's processes, by inode.
#[derive(Debug, Default)]
pub struct Sockets {
    inodes: HashSet<u64>,
}

impl Sockets {
    /// Those of all processes in the session of `leader`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn of_session(leader: u32) -> io::Result<Self> {
        let mut inodes = HashSet::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            if pid == leader || session_of(pid) == Some(leader) {
                inodes.extend(socket_inodes(&entry.path()));
            }
        }
        Ok(Self { inodes })
    }

    /// How many of them are connections to this local port that have not ended.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn connections(&self, port: u16) -> io::Result<usize> {
        self.count(port, &[ESTABLISHED, CLOSE_WAIT])
    }

    /// Whether one of them listens on this port, other than those named.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn listens(&self, port: u16, but: &[u64]) -> io::Result<bool> {
        let inodes = self.inodes.iter().copied().filter(|inode| !but.contains(inode)).collect();
        Ok(Self { inodes }.count(port, &[LISTEN])? > 0)
    }

    fn count(&self, port: u16, states: &[&str]) -> io::Result<usize> {
        let mut count = 0;
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = match std::fs::read_to_string(table) {
                Ok(text) => text,
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let rows = text.lines().skip(1).filter_map(Row::parse);
            count += rows
                .filter(|row| {
                    row.port == port
                        && states.contains(&row.state)
                        && self.inodes.contains(&row.inode)
                })
                .count();
        }
        Ok(count)
    }
}

/// One line of `/proc/net/tcp` (proc_net_tcp(5)).
struct Row<'a> {
    port: u16,
    state: &'a str,
    inode: u64,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Self { port, state, inode })
    }
}

fn session_of(pid: u32) -> Option<u32> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    u32::try_from(nix::unistd::getsid(Some(pid)).ok()?.as_raw()).ok()
}

/// A process that ends meanwhile has no sockets.
fn socket_inodes(process: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(process.join("fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn this_process_has_the_connections_that_it_accepted() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let sockets = || Sockets::of_session(std::process::id()).unwrap();
        assert_eq!(sockets().connections(address.port()).unwrap(), 1);
        assert!(sockets().listens(address.port(), &[]).unwrap());
        drop((client, server));
        assert_eq!(sockets().connections(address.port()).unwrap(), 0);
        drop(listener);
        assert!(!sockets().listens(address.port(), &[]).unwrap());
    }
}
