//! The listening sockets, and which version's gets new connections.
//!
//! The agent owns every listening socket: one per version and port, all of a port in one
//! `SO_REUSEPORT` group. A classic BPF program on the group gives the kernel the index of the
//! socket that a new connection goes to. So a version that nobody is to reach yet can listen
//! already, and going from one version to the next, or back, is one `setsockopt`.
//!
//! The kernel numbers a group's sockets in the order in which they began to listen, and when one
//! leaves the last takes its number (`reuseport_detach_sock` in `net/core/sock_reuseport.c`). Between
//! that and the next program the numbers would be wrong, and the kernel could pick a socket that
//! nobody accepts on. So a new socket begins to listen just before an old one leaves: it is the last,
//! takes the old one's number, and nobody else's changes. It is the next new version's.
//!
//! A socket leaves when it is shut down, whoever still holds it: the launcher and the service manager
//! do, and close theirs later.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::switch::VersionId;

mod program;

/// Connections that wait for an app to accept them; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The sockets of one port.
#[derive(Debug)]
pub struct Group {
    address: SocketAddr,
    members: Vec<Member>,
    steered: Option<VersionId>,
    /// Of the new connections so many of a thousand go to this version, whichever gets the others.
    share: Option<(u16, VersionId)>,
}

#[derive(Debug)]
struct Member {
    socket: Socket,
    inode: u64,
    /// The versions that share this socket: more than one where they run one after the other.
    owners: Vec<VersionId>,
}

/// A group, to be handed over to another agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupStanding {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its sockets in the kernel's order: inode, and the versions that have it.
    pub members: Vec<(u64, Vec<VersionId>)>,
    /// Which version gets new connections.
    pub steered: Option<VersionId>,
    /// See [`Group::share_out`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<(u16, VersionId)>,
}

impl Group {
    /// An empty group for this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, members: Vec::new(), steered: None, share: None }
    }

    /// What is handed over of it.
    pub fn standing(&self) -> GroupStanding {
        let members = self.members.iter().map(|it| (it.inode, it.owners.clone())).collect();
        let Self { address, steered, share, .. } = *self;
        GroupStanding { address, members, steered, share }
    }

    /// The group of an agent that died, with the sockets that `find` still has by their inodes.
    ///
    /// # Errors
    /// What the kernel says when they are steered.
    pub fn take_over(
        standing: &GroupStanding,
        mut find: impl FnMut(u64, &[VersionId]) -> Option<OwnedFd>,
    ) -> io::Result<Self> {
        let mut group = Self::new(standing.address);
        (group.steered, group.share) = (standing.steered, standing.share);
        let mut lost = Vec::new();
        for (inode, owners) in &standing.members {
            match find(*inode, owners) {
                Some(socket) => {
                    let (socket, owners) = (Socket::from(socket), owners.clone());
                    group.members.push(Member { socket, inode: *inode, owners });
                }
                None => lost.push(group.members.len() + lost.len()),
            }
        }
        // They have left by themselves, and the last one took each one's number.
        for index in lost.into_iter().rev() {
            tracing::warn!(address = %group.address, index, "a socket is lost");
            if index < group.members.len()
                && let Some(last) = group.members.pop()
            {
                group.members.insert(index, last);
            }
        }
        group.program(None)?;
        Ok(group)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives `version` a listening socket of its own. The first of a group gets the connections;
    /// later ones none, until they are steered to.
    ///
    /// # Errors
    /// What the kernel says, above all that the address is in use.
    pub fn add(&mut self, version: VersionId) -> io::Result<()> {
        if let Some(spare) = self.members.iter_mut().find(|member| member.owners.is_empty()) {
            spare.owners.push(version);
            return Ok(());
        }
        let is_first = self.members.is_empty();
        self.listen_as(vec![version])?;
        if is_first {
            self.steered = Some(version);
        }
        Ok(())
    }

    /// A new socket begins to listen, as the last of the group. Gives its inode.
    fn listen_as(&mut self, owners: Vec<VersionId>) -> io::Result<u64> {
        let socket = bind(self.address)?;
        let inode = nix::sys::stat::fstat(&socket)?.st_ino;
        if self.members.is_empty() {
            program::attach(&socket, program::Steering::default())?;
        }
        socket.listen(BACKLOG)?;
        self.members.push(Member { socket, inode, owners });
        Ok(inode)
    }

    /// Takes a socket in that listens already, as the last of the group.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn join(&mut self, version: VersionId, inode: u64, socket: OwnedFd) -> io::Result<()> {
        let is_first = self.members.is_empty();
        let (socket, owners) = (Socket::from(socket), vec![version]);
        self.members.push(Member { socket, inode, owners });
        if is_first {
            self.steered = Some(version);
        }
        self.program(None)
    }

    /// Lets `version` take over the socket of `other`, with the connections that wait in it. Gives
    /// whether `other` has one.
    pub fn share(&mut self, version: VersionId, other: VersionId) -> bool {
        let found = self.members.iter_mut().find(|member| member.owners.contains(&other));
        let Some(member) = found else { return false };
        member.owners.push(version);
        true
    }

    /// The newest version that has a socket here.
    pub fn newest(&self) -> Option<VersionId> {
        self.members.iter().flat_map(|member| member.owners.iter().copied()).max()
    }

    /// New connections go to `version` from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn steer(&mut self, version: VersionId) -> io::Result<()> {
        if self.index(version).is_none() {
            return Ok(());
        }
        (self.steered, self.share) = (Some(version), None);
        self.program(None)
    }

    /// Of the new connections so many of a thousand go to `version`, until the next [`Self::steer`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn share_out(&mut self, per_mille: u16, version: VersionId) -> io::Result<()> {
        self.share = self.index(version).map(|_| (per_mille, version));
        self.program(None)
    }

    /// Connections from this source port, the agent's own, go to `version`, whichever gets the
    /// others. `None` ends it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lead(&mut self, source_port: Option<u16>, version: VersionId) -> io::Result<()> {
        let probe = source_port.zip(self.index(version));
        self.program(probe)
    }

    fn program(&self, probe: Option<(u16, u32)>) -> io::Result<()> {
        let Some(first) = self.members.first() else { return Ok(()) };
        let serving = self.steered.and_then(|version| self.index(version)).unwrap_or(0);
        let share = self.share.and_then(|(per_mille, it)| Some((per_mille, self.index(it)?)));
        program::attach(&first.socket, program::Steering { serving, probe, share })
    }

    /// The inode of the version's socket.
    pub fn inode(&self, version: VersionId) -> Option<u64> {
        self.members.iter().find(|member| member.owners.contains(&version)).map(|it| it.inode)
    }

    /// The socket of this inode.
    pub fn socket_of(&self, inode: u64) -> Option<BorrowedFd<'_>> {
        self.members.iter().find(|member| member.inode == inode).map(|it| it.socket.as_fd())
    }

    /// The inodes of all sockets here.
    pub fn inodes(&self) -> impl Iterator<Item = u64> + '_ {
        self.members.iter().map(|member| member.inode)
    }

    /// The descriptor of the version's socket.
    pub fn socket(&self, version: VersionId) -> Option<BorrowedFd<'_>> {
        let member = self.members.iter().find(|member| member.owners.contains(&version))?;
        Some(member.socket.as_fd())
    }

    /// How many connections wait in the version's socket to be accepted.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn waiting(&self, version: VersionId) -> io::Result<u32> {
        self.socket(version).map_or(Ok(0), waiting)
    }

    /// The version has no process any more, and gives its socket up. Gives the inode of the socket
    /// that has left, if one has, and of the one that has taken its number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&mut self, version: VersionId) -> io::Result<Option<Replaced>> {
        let owns = |member: &Member| member.owners.contains(&version);
        let Some(index) = self.members.iter().position(owns) else { return Ok(None) };
        self.members[index].owners.retain(|owner| *owner != version);
        if !self.members[index].owners.is_empty() || self.is_empty() {
            return Ok(None);
        }
        let is_last = index + 1 == self.members.len();
        let by = if is_last { None } else { Some(self.listen_as(Vec::new())?) };
        // As the kernel does: the last one takes the number.
        let member = self.members.swap_remove(index);
        let left = member.inode;
        member.leave()?;
        // With tcp_migrate_req what waited there may have come to a socket that nobody accepts on.
        if by.is_some() {
            self.members[index].turn_away()?;
        }
        Ok(Some(Replaced { left, by }))
    }

    /// All sockets leave at once, whoever else still holds them; gives their inodes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn close(self) -> io::Result<Vec<u64>> {
        let inodes = self.inodes().collect();
        self.members.into_iter().try_for_each(Member::leave)?;
        Ok(inodes)
    }

    /// Whether no version has a socket here.
    pub fn is_empty(&self) -> bool {
        self.members.iter().all(|member| member.owners.is_empty())
    }

    fn index(&self, version: VersionId) -> Option<u32> {
        let index = self.members.iter().position(|member| member.owners.contains(&version))?;
        u32::try_from(index).ok()
    }
}

/// One socket that another has taken the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The inode of the one that has left.
    pub left: u64,
    /// The inode of the one that has its number now. None: it was the last.
    pub by: Option<u64>,
}

impl Member {
    /// Ends the connections that wait here: nobody will accept them.
    fn turn_away(&self) -> io::Result<()> {
        loop {
            match self.socket.accept() {
                Ok(connection) => drop(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves its group now, though the launcher and the service manager still hold the socket.
    fn leave(self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Both)
    }
}

/// All groups, by the app's port.
pub type Groups = BTreeMap<u16, Group>;

/// Whether another socket may be bound beside whatever listens at `address`: nobody does, or all
/// who do have `SO_REUSEPORT` and belong to this user. Nothing listens by this, so that no
/// connection goes astray.
pub fn can_bind_beside(address: SocketAddr) -> bool {
    bind(address).is_ok()
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The length of a listening socket's accept queue: `tcpi_unacked` of `TCP_INFO`, which for a
/// listener is `sk_ack_backlog` (`tcp_get_info` in `net/ipv4/tcp.c`).
fn waiting(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes into `info`,
    // which is valid for any bytes.
    let info = unsafe {
        let (fd, target) = (socket.as_raw_fd(), info.as_mut_ptr().cast());
        if libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, target, &mut length) != 0 {
            return Err(io::Error::last_os_error());
        }
        info.assume_init()
    };
    Ok(info.tcpi_unacked)
}

#[cfg(test)]
mod tests;
