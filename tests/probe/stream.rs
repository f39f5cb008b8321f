//! Do many bytes arrive as they were sent?
//!
//! The payload is one block repeated, of pseudo-random bytes and of a prime length, so that bytes which are lost,
//! doubled, swapped or damaged never look like the right ones. The receiver compares every byte.

use crate::world::Place;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

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

/// The first `length` bytes of the payload, of one block at most.
#[must_use]
pub fn payload(length: usize) -> Vec<u8> {
    block().into_iter().take(length).collect()
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

/// How long a connection may stand still.
const STALL_MAX: Duration = Duration::from_secs(10);

/// A connection, seen from both ends, whose reads end when nothing comes any more.
#[derive(Debug)]
pub struct Connection {
    pub client: TcpStream,
    pub server: TcpStream,
}

impl Connection {
    /// Dials `dialled` inside `client`, where `listening` inside `server` is expected to answer.
    ///
    /// # Errors
    /// What the sockets say.
    pub fn open(client: &Place, dialled: SocketAddr, server: &Place, listening: SocketAddr) -> io::Result<Self> {
        let listener = server.run(|| TcpListener::bind(listening))?;
        let client = client.run(|| TcpStream::connect_timeout(&dialled, super::PATIENCE))?;
        let (server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(STALL_MAX))?;
            stream.set_write_timeout(Some(STALL_MAX))?;
        }
        Ok(Self { client, server })
    }

    /// The client sends `length` bytes, and the server compares each.
    ///
    /// # Errors
    /// As [`receive`].
    pub fn upload(&self, length: u64) -> io::Result<()> {
        pass(&self.client, &self.server, length)
    }

    /// The other way round.
    ///
    /// # Errors
    /// As [`receive`].
    pub fn download(&self, length: u64) -> io::Result<()> {
        pass(&self.server, &self.client, length)
    }
}

fn pass(from: &TcpStream, to: &TcpStream, length: u64) -> io::Result<()> {
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(from, length));
        receive(to, length)?;
        sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
