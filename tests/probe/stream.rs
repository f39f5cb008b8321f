//! Do many bytes arrive as they were sent?
//!
//! The payload is one block repeated, of pseudo-random bytes and of a prime length, so that bytes which are lost,
//! doubled, swapped or damaged never look like the right ones. The receiver compares every byte.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Bytes of the block; a prime, so that it never lines up with segments or buffers.
const BLOCK: usize = 1_000_003;

fn block() -> Vec<u8> {
    // xorshift64 (Marsaglia 2003).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(BLOCK).collect()
}

/// Sends `length` bytes of the payload.
///
/// # Errors
/// What the socket says.
pub fn send(mut stream: &TcpStream, length: u64) -> io::Result<()> {
    let block = block();
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        stream.write_all(&block[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Receives `length` bytes and compares each with the payload.
///
/// # Errors
/// `InvalidData` when a byte differs, else what the socket says.
pub fn receive(mut stream: &TcpStream, length: u64) -> io::Result<()> {
    let block = block();
    let mut buffer = vec![0; BLOCK];
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        stream.read_exact(&mut buffer[..part])?;
        if buffer[..part] != block[..part] {
            let at = length - left;
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("bytes differ after {at}")));
        }
        left -= part as u64;
    }
    Ok(())
}
