//! The classic BPF program that picks a group's socket for a new connection.

use std::io;
use std::os::fd::AsRawFd;

use socket2::Socket;

/// Which socket of the group gets which connections, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Steering {
    /// The socket that gets them.
    pub(super) serving: u32,
    /// The socket that gets those from this source port: the agent's own probe.
    pub(super) probe: Option<(u16, u32)>,
    /// The socket that gets so many of a thousand of the others, by chance.
    pub(super) share: Option<(u16, u32)>,
}

/// Loads relative to the network header (`SKF_NET_OFF` in `linux/filter.h`): for a reuseport
/// program offset 0 is the payload, behind the headers.
const NET: u32 = -0x10_0000_i32 as u32;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const REMAINDER: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;

/// Loads a number by chance (`SKF_AD_OFF + SKF_AD_RANDOM` in `linux/filter.h`).
const RANDOM: u32 = (-0x1000_i32 + 56) as u32;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn filter(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn jump_if_equal(k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: JUMP_IF_EQUAL, jt, jf, k }
}

fn program(steering: Steering) -> Vec<libc::sock_filter> {
    let mut filters = Vec::new();
    if let Some((port, index)) = steering.probe {
        // The agent's probe has no IP options, so its source port stands right behind the address.
        filters.extend([
            filter(LOAD_BYTE, NET),
            filter(AND, 0xf0),
            jump_if_equal(0x60, 2, 0),
            filter(LOAD_HALF, NET.wrapping_add(20)),
            filter(JUMP, 1),
            filter(LOAD_HALF, NET.wrapping_add(40)),
            jump_if_equal(u32::from(port), 0, 1),
            filter(RETURN, index),
        ]);
    }
    if let Some((per_mille, index)) = steering.share {
        let at_least =
            libc::sock_filter { code: JUMP_IF_AT_LEAST, jt: 1, jf: 0, k: u32::from(per_mille) };
        filters.extend([filter(LOAD_WORD, RANDOM), filter(REMAINDER, 1000), at_least]);
        filters.push(filter(RETURN, index));
    }
    filters.push(filter(RETURN, steering.serving));
    filters
}

/// Makes this the program of the socket's group, in place of the one before.
pub(super) fn attach(socket: &Socket, steering: Steering) -> io::Result<()> {
    let mut filters = program(steering);
    let program = libc::sock_fprog {
        len: u16::try_from(filters.len()).map_err(io::Error::other)?,
        filter: filters.as_mut_ptr(),
    };
    // SAFETY: the descriptor is open; `program` points to `len` instructions that outlive the
    // call, and the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
