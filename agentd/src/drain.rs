//! When an old version has nothing left to do: what its processes hold, as the kernel tells it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

mod sock_diag;

use sock_diag::{Family, State};

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

    /// How many of them are connections that have not ended, of those that a listener at this
    /// address has taken.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn connections(&self, address: SocketAddr) -> io::Result<usize> {
        // Only of the listener's own family, which all that it takes are of: the kernel goes
        // through its whole table of connections for each question.
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        let states = [State::Established, State::CloseWait];
        let open = sock_diag::inodes(address.port(), &[family], &states)?;
        Ok(open.iter().filter(|inode| self.inodes.contains(inode)).count())
    }

    /// Whether one of them listens on this port, other than those named.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn listens(&self, port: u16, but: &[u64]) -> io::Result<bool> {
        let listening = sock_diag::inodes(port, &[Family::V4, Family::V6], &[State::Listen])?;
        Ok(listening.iter().any(|inode| self.inodes.contains(inode) && !but.contains(inode)))
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
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    #[test]
    fn this_process_has_the_connections_that_it_accepted() {
        // One for both families takes those of the older one, too.
        for (listens, to) in
            [(LOCALHOST, LOCALHOST), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), LOCALHOST)]
        {
            has_what_it_accepted(listens, to);
        }
    }

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn has_what_it_accepted(listens: IpAddr, to: IpAddr) {
        let listener = TcpListener::bind((listens, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect((to, address.port())).unwrap();
        let (server, _) = listener.accept().unwrap();
        let sockets = || Sockets::of_session(std::process::id()).unwrap();
        assert_eq!(sockets().connections(address).unwrap(), 1);
        assert!(sockets().listens(address.port(), &[]).unwrap());
        drop((client, server));
        assert_eq!(sockets().connections(address).unwrap(), 0);
        drop(listener);
        assert!(!sockets().listens(address.port(), &[]).unwrap());
    }
}
