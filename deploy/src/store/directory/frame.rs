//! How one generation lies in its file: the object's bytes, and a line that vouches for them.
//!
//! The line has a fixed length, so it is found from the end, and it follows from the bytes alone.
//! So a file is whole exactly when its end equals the line that its bytes call for: a file that was
//! cut short, lengthened or changed in any bit, in the bytes or in the line, is known.

use std::fs::File;
use std::io::{self, Read, Write};

use super::fault::{Done, Fault};
use crate::store::ErrorKind;

/// How long the line is.
pub(super) const FOOTER_SIZE: usize = footer_size();

const CHUNK_SIZE: usize = 256 * 1024;

const fn footer_size() -> usize {
    "\nsize=".len() + 20 + " crc32c=".len() + 8 + "\n".len()
}

fn footer(size: u64, crc: u32) -> Vec<u8> {
    format!("\nsize={size:020} crc32c={crc:08x}\n").into_bytes()
}

/// Gives the object's bytes out of the file's.
pub(super) fn unframe(mut file: Vec<u8>) -> Done<Vec<u8>> {
    let corrupt = || Fault::from(ErrorKind::Corrupt);
    let size = file.len().checked_sub(FOOTER_SIZE).ok_or_else(corrupt)?;
    let (data, found) = file.split_at(size);
    if footer(size as u64, crc32c::crc32c(data)) != found {
        return Err(corrupt());
    }
    file.truncate(size);
    Ok(file)
}

/// The object's size, by the file's. A file that is too short to be whole counts as empty.
pub(super) fn object_size(file_size: u64) -> u64 {
    file_size.saturating_sub(FOOTER_SIZE as u64)
}

/// Writes an object and its line to `to`. Gives the object's size.
pub(super) fn write(from: impl Read, mut to: &File, progress: impl FnMut(u64)) -> Done<u64> {
    let (size, crc) = copy(from, to, progress)?;
    to.write_all(&footer(size, crc))?;
    Ok(size)
}

/// Reads an object back out of `from`, checked. Gives its size.
pub(super) fn read(mut from: &File, to: impl Write, progress: impl FnMut(u64)) -> Done<u64> {
    let file_size = from.metadata()?.len();
    let (size, crc) = copy(from.take(object_size(file_size)), to, progress)?;
    let mut found = Vec::with_capacity(FOOTER_SIZE + 1);
    from.read_to_end(&mut found)?;
    if found != footer(size, crc) {
        return Err(ErrorKind::Corrupt.into());
    }
    Ok(size)
}

fn copy(
    mut from: impl Read,
    mut to: impl Write,
    mut progress: impl FnMut(u64),
) -> io::Result<(u64, u32)> {
    let mut chunk = vec![0; CHUNK_SIZE];
    let (mut size, mut crc) = (0, 0);
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&chunk[..read])?;
        crc = crc32c::crc32c_append(crc, &chunk[..read]);
        size += read as u64;
        progress(size);
    }
    Ok((size, crc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_as_long_as_it_is_said_to_be_and_readable() {
        assert_eq!(footer(0, 0).len(), FOOTER_SIZE);
        assert_eq!(footer(u64::MAX, u32::MAX).len(), FOOTER_SIZE);
        let line = footer(9, crc32c::crc32c(b"123456789"));
        assert_eq!(line, b"\nsize=00000000000000000009 crc32c=e3069283\n");
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_known() {
        for data in [&b""[..], b"x", b"some bytes\nand more"] {
            let whole = [data, &footer(data.len() as u64, crc32c::crc32c(data))].concat();
            assert_eq!(unframe(whole.clone()).unwrap(), data);
            for size in 0..whole.len() {
                assert!(unframe(whole[..size].to_vec()).is_err(), "cut to {size} bytes");
            }
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(unframe(flipped).is_err(), "bit {bit} flipped");
            }
        }
    }
}
