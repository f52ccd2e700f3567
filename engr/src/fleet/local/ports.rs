//! Ports of this machine: which are free, and who has the others.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use deploy::Digest;
use deploy::local_fleet::{BalancedPort, LocalFleet};

use crate::failure::{CommandResult, Exit, Failure};

/// Where the ports of instances lie when the kernel does not say from where on it takes ports for
/// outgoing connections.
const EPHEMERAL_FROM: u16 = 32_768;

/// The first port that an instance may get.
const FIRST: u16 = 20_000;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Where the balancer takes the connections of each of the app's `ports`. What it has now it
/// keeps.
pub(super) fn listen_addresses(
    ports: &[u16],
    fleet: &LocalFleet,
) -> CommandResult<Vec<BalancedPort>> {
    let mut listen: Vec<BalancedPort> = Vec::new();
    for &port in ports {
        let known = fleet.ports.iter().find(|known| known.port == port);
        let address = known.map_or_else(|| local(public_port(port)), |known| known.listen);
        if let Some(other) = listen.iter().find(|other| other.listen == address) {
            let other = other.port;
            return Err(Failure::usage(format!(
                "the app's ports {other} and {port} would both be {address} on this machine"
            ))
            .hint("change one of them in engr.json"));
        }
        listen.push(BalancedPort { port, listen: address });
    }
    Ok(listen)
}

/// 80 and 443 become 8080 and 8443 for a user who may not bind them.
pub fn public_port(port: u16) -> u16 {
    let instead = match port {
        80 => 8080,
        443 => 8443,
        _ => return port,
    };
    match TcpListener::bind(local(port)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => instead,
        // A port that is taken may be bound by this user, once it is free.
        _ => port,
    }
}

/// Where the app is reached: a URL for the first port, `host:port` for the others.
pub(super) fn public_addresses(ports: &[u16], fleet: &LocalFleet) -> Vec<String> {
    let address = |port: &u16| {
        let known = fleet.ports.iter().find(|known| known.port == *port);
        known.map_or_else(|| local(public_port(*port)), |known| known.listen)
    };
    let addresses = ports.iter().map(address).enumerate().map(|(index, address)| {
        match (index, address.port()) {
            (0, 443 | 8443) => format!("https://{address}"),
            (0, 80) => format!("http://{}", address.ip()),
            (0, _) => format!("http://{address}"),
            _ => address.to_string(),
        }
    });
    addresses.collect()
}

/// Fails when somebody else has one of the ports that the balancer is to listen on.
pub(super) fn check_free(wanted: &[BalancedPort]) -> CommandResult<()> {
    for BalancedPort { port, listen } in wanted {
        check(*listen).map_err(|failure| {
            let than = if listen.port() == *port { String::new() } else { format!(" than {port}") };
            failure.hint(format!(
                "free it, or give the app another port{than}: `engr <app> config:set port 8081`"
            ))
        })?;
    }
    Ok(())
}

/// Fails when an app here cannot have `port`, on whichever address it binds it.
pub fn check_port(port: u16) -> CommandResult<()> {
    check(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
}

fn check(address: SocketAddr) -> CommandResult<()> {
    let Err(error) = TcpListener::bind(address) else { return Ok(()) };
    let port = address.port();
    Err(match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = holder(port).map(|holder| format!(" by {holder}")).unwrap_or_default();
            let message = format!("port {port} is taken{holder}");
            Failure::new(Exit::Usage, anyhow::anyhow!(message))
        }
        ErrorKind::PermissionDenied => {
            let message = format!("you may not listen on port {port}");
            Failure::new(Exit::NotAllowed, anyhow::anyhow!(message))
        }
        _ => {
            let error = anyhow::Error::new(error).context(format!("cannot listen on {address}"));
            Failure::new(Exit::Internal, error)
        }
    })
}

/// Whether `address` can be bound now.
pub(super) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// Finds free ports for instances, none twice.
///
/// They lie below those that the kernel gives to outgoing connections: such a connection could
/// take the port of an instance that does not run for the moment.
#[derive(Debug)]
pub(super) struct Picker {
    used: BTreeSet<u16>,
    next: u16,
    end: u16,
}

impl Picker {
    /// A picker that gives none of `used`. Where it starts depends on `folder`, so that two fleets
    /// seldom try the same ports.
    pub(super) fn new(folder: &Path, used: BTreeSet<u16>) -> Self {
        let digest = Digest::of(folder.as_os_str().as_encoded_bytes()).to_string();
        let spread = u16::from_str_radix(&digest[..4], 16).unwrap_or_default();
        let end = ephemeral_from().filter(|end| *end > FIRST + 2_000).unwrap_or(EPHEMERAL_FROM);
        Self { used, next: FIRST + spread % (end - FIRST), end }
    }

    /// A port that is free now.
    pub(super) fn pick(&mut self) -> CommandResult<SocketAddr> {
        for _ in FIRST..self.end {
            let port = self.next;
            self.next = if port + 1 < self.end { port + 1 } else { FIRST };
            if !self.used.contains(&port) && is_free(local(port)) {
                self.used.insert(port);
                return Ok(local(port));
            }
        }
        let message = format!("no port from {FIRST} to {} is free on 127.0.0.1", self.end - 1);
        Err(Failure::new(Exit::Internal, anyhow::anyhow!(message)))
    }
}

fn ephemeral_from() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

/// A process that listens on a port.
#[derive(Debug)]
pub(super) struct Holder {
    /// Its id.
    pub(super) pid: u32,
    /// Its command line.
    pub(super) command: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// Who listens on `port`, if `/proc` tells this user.
pub(super) fn holder(port: u16) -> Option<Holder> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let pid = super::orphans::process_ids().ok()?.find(|pid| has_open(*pid, &sockets))?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
    Some(Holder { pid, command })
}

fn has_open(pid: u32, sockets: &[String]) -> bool {
    let links = || -> io::Result<bool> {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let target = fs::read_link(entry?.path())?;
            if sockets.iter().any(|socket| target.as_os_str() == socket.as_str()) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    // Other users' processes do not tell, and processes come and go.
    links().unwrap_or(false)
}

/// The inodes of the sockets that listen on `port`, by a table like `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let end = format!(":{port:04X}");
    let rows = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = columns.get(1)?.ends_with(&end) && *columns.get(3)? == LISTEN;
        listens.then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = TcpListener::bind(local(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // A child that another test starts in this moment holds it too, until its exec.
        let until = |what: &str, holds: &dyn Fn() -> bool| {
            let began = std::time::Instant::now();
            while !holds() {
                assert!(began.elapsed() < std::time::Duration::from_secs(10), "{what}");
                std::thread::yield_now();
            }
        };
        let own = || holder(port).is_some_and(|holder| holder.pid == std::process::id());
        until("this process holds it", &own);
        let wanted = [BalancedPort { port, listen: local(port) }];
        let failure = check_free(&wanted).unwrap_err();
        let said = failure.error.to_string();
        assert!(said.starts_with(&format!("port {port} is taken by process")), "{said}");
        drop(listener);
        until("nobody holds it", &|| check_free(&wanted).is_ok());
    }

    #[test]
    fn ports_are_picked_once_and_only_free_ones() {
        let folder = Path::new("/a");
        let mut picker = Picker::new(folder, BTreeSet::new());
        let (first, second) = (picker.pick().unwrap(), picker.pick().unwrap());
        assert_ne!(first, second);
        let _taken = TcpListener::bind(first).unwrap();
        let mut again = Picker::new(folder, BTreeSet::from([second.port()]));
        let third = again.pick().unwrap();
        assert!(third != first && third != second);
    }

    #[test]
    fn the_address_is_kept_and_never_given_twice() {
        let at = |port, listen| BalancedPort { port, listen: local(listen) };
        let fleet = LocalFleet { ports: vec![at(80, 8080)], instances: Vec::new() };
        assert_eq!(listen_addresses(&[80, 9000], &fleet).unwrap(), [at(80, 8080), at(9000, 9000)]);
        let refused = listen_addresses(&[80, 8080], &fleet).unwrap_err().error.to_string();
        assert!(refused.contains("80 and 8080 would both be 127.0.0.1:8080"), "{refused}");
        assert_eq!(
            public_addresses(&[80, 9000], &fleet),
            ["http://127.0.0.1:8080", "127.0.0.1:9000"]
        );
        assert_eq!(public_addresses(&[8443], &fleet), ["https://127.0.0.1:8443"]);
        assert!(public_addresses(&[], &fleet).is_empty());
    }
}
