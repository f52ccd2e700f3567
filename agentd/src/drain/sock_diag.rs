//! The kernel's TCP sockets of one port, asked over netlink (sock_diag(7)).
//!
//! `/proc/net/tcp` tells the same, and every connection of the last minute besides: under load that
//! is tens of thousands of lines, read ten times a second.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// The states that matter here, as `net/tcp_states.h` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Open on both sides.
    Established = 1,
    /// The other side has ended.
    CloseWait = 8,
    /// It takes connections.
    Listen = 10,
}

/// What a socket's addresses are. One that listens at `::` takes connections of IPv4 too, as sockets
/// of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4 = libc::AF_INET as isize,
    /// IPv6.
    V6 = libc::AF_INET6 as isize,
}

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// Where an answer's `struct inet_diag_msg` has the inode.
const INODE_AT: usize = HEADER + 68;

/// The inodes of the sockets of these families with this local port in one of these states.
pub(super) fn inodes(port: u16, families: &[Family], states: &[State]) -> io::Result<Vec<u64>> {
    let mut inodes = Vec::new();
    for family in families {
        dump(*family as u8, port, states, &mut inodes).map_err(explained)?;
    }
    Ok(inodes)
}

/// Where it is a module, the kernel loads it when it is first asked: that may be forbidden, or the
/// module not there.
fn explained(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let what =
                "the kernel cannot be asked for sockets: it lacks tcp_diag; `modprobe tcp_diag`";
            io::Error::new(io::ErrorKind::Unsupported, what)
        }
        _ => error,
    }
}

fn dump(family: u8, port: u16, states: &[State], inodes: &mut Vec<u64>) -> io::Result<()> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &request(family, port, states), &kernel, MsgFlags::empty())?;
    let mut answer = vec![0; 32 * 1024];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        if take(&answer[..length], inodes)? {
            return Ok(());
        }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: u8, port: u16, states: &[State]) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let wanted = states.iter().fold(0_u32, |wanted, state| wanted | 1 << (*state as u32));
    request[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[HEADER] = family;
    request[HEADER + 1] = libc::IPPROTO_TCP as u8;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&wanted.to_ne_bytes());
    request[HEADER + 8..HEADER + 10].copy_from_slice(&port.to_be_bytes());
    request
}

/// Takes the inodes out of one datagram. Gives whether it was the last.
fn take(mut answer: &[u8], inodes: &mut Vec<u64>) -> io::Result<bool> {
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "sock_diag's answer is cut short");
    while !answer.is_empty() {
        let length = answer.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes) as usize);
        let length = length.filter(|length| (HEADER..=answer.len()).contains(length));
        let (message, rest) = answer.split_at(length.ok_or_else(cut)?);
        match i32::from(u16::from_ne_bytes([message[4], message[5]])) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let code = message.get(HEADER..HEADER + 4).ok_or_else(cut)?;
                let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => {
                let inode = message.get(INODE_AT..INODE_AT + 4).ok_or_else(cut)?;
                inodes
                    .push(u64::from(u32::from_ne_bytes([inode[0], inode[1], inode[2], inode[3]])));
            }
        }
        // Messages start at multiples of four.
        answer =
            rest.get(length.ok_or_else(cut)?.next_multiple_of(4) - message.len()..).unwrap_or(&[]);
    }
    Ok(false)
}
