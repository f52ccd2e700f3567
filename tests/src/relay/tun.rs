//! A device whose packets a program reads and writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A TUN device. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Tun(File);

impl Tun {
    /// A new device, in the calling thread's network.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open("/dev/net/tun")?;
        // SAFETY: all zeroes are a value of this plain struct of numbers and unions of them.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the descriptor is open, and the call reads and writes an `ifreq`, which this is.
        let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) };
        match made {
            0 => Ok(Self(file)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next packet's bytes; none when there was none within `within`.
    pub(super) fn read(&self, packet: &mut [u8], within: PollTimeout) -> io::Result<Option<usize>> {
        match (&self.0).read(packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(Some),
        }
        let mut wait = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wait, within) {
            Ok(1..) => {}
            Ok(_) | Err(Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        match (&self.0).read(packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => read.map(Some),
        }
    }

    /// Hands a packet to the kernel.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(drop)
    }
}
