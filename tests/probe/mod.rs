//! What do the clients and the servers of a test say to each other?
//!
//! A server introduces itself and tells the peer's address as it sees it, so that one exchange shows both who answered
//! and what was translated: TCP: one line `NAME PEER` on accept, then every byte comes back. UDP: `NAME PEER PAYLOAD`.
//! Clients call the functions here from within a [`Place`](crate::world::Place); for the host's own sockets, which must
//! be in the world's cgroup, the program `netd-probe` does the same.

pub mod ask;
pub mod crowd;
pub mod hammer;
pub mod stream;

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How long a client waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What one exchange with a server has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The server's name for itself.
    pub server: String,
    /// The client's address as the server sees it.
    pub seen_as: SocketAddr,
    /// The client's address as the client sees it.
    pub local: SocketAddr,
    /// What the client's socket calls its peer: getpeername(2), or where an unconnected socket's answer came from.
    pub peer: SocketAddr,
}

/// How a client uses its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Tcp,
    /// connect(2), send(2), recv(2).
    UdpConnected,
    /// sendto(2), recvfrom(2).
    UdpUnconnected,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::UdpConnected, Self::UdpUnconnected];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::UdpConnected => "udp-connected",
            Self::UdpUnconnected => "udp-unconnected",
        }
    }
}

/// One exchange with the server at `address`.
///
/// # Errors
/// What the sockets say; `TimedOut` or `WouldBlock` when nothing came.
pub fn dial(mode: Mode, address: SocketAddr) -> io::Result<Reply> {
    match mode {
        Mode::Tcp => dial_tcp(address),
        Mode::UdpConnected => {
            let socket = udp_client(address)?;
            socket.connect(address)?;
            ask(&socket)
        }
        Mode::UdpUnconnected => {
            let socket = udp_client(address)?;
            socket.send_to(b"hello", address)?;
            let mut buffer = [0; 256];
            let (length, peer) = socket.recv_from(&mut buffer)?;
            let (server, seen_as) = introduction(&buffer[..length])?;
            Ok(Reply { server, seen_as, local: socket.local_addr()?, peer })
        }
    }
}

/// One TCP exchange: the server's introduction, and four bytes that come back.
///
/// # Errors
/// What the sockets say.
pub fn dial_tcp(address: SocketAddr) -> io::Result<Reply> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    exchange(&stream)
}

/// The exchange over a connection that is there already.
///
/// # Errors
/// What the socket says.
pub fn exchange(stream: &TcpStream) -> io::Result<Reply> {
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    let mut reader = greeted(stream)?;
    let (server, seen_as) = reader.1;
    (&*stream).write_all(b"ping")?;
    let mut echoed = [0; 4];
    reader.0.read_exact(&mut echoed)?;
    if &echoed != b"ping" {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs"));
    }
    Ok(Reply { server, seen_as, local, peer })
}

/// Reads the server's introduction.
fn greeted(stream: &TcpStream) -> io::Result<(BufReader<&TcpStream>, (String, SocketAddr))> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let introduction = introduction(line.as_bytes())?;
    Ok((reader, introduction))
}

/// One datagram to the peer of a connected socket, and its answer.
///
/// # Errors
/// What the socket says.
pub fn ask(socket: &UdpSocket) -> io::Result<Reply> {
    socket.send(b"hello")?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer)?;
    let (server, seen_as) = introduction(&buffer[..length])?;
    Ok(Reply { server, seen_as, local: socket.local_addr()?, peer: socket.peer_addr()? })
}

/// An unconnected UDP socket of the family of `address`, that does not wait for ever.
///
/// # Errors
/// What the socket says.
pub fn udp_client(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    udp_from(any.parse().map_err(io::Error::other)?)
}

/// The same, bound to `local`.
///
/// # Errors
/// What the socket says.
pub fn udp_from(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(local)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sets a socket option that is an int.
///
/// # Errors
/// What the socket says.
pub fn set_option(socket: &impl AsRawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: `value` outlives the call, which reads `size` bytes of it.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A TCP connection from a port of the client's choice.
///
/// # Errors
/// What the socket says.
pub fn tcp_from(local: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
    };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    // SO_SNDTIMEO bounds connect(2) too: socket(7).
    setsockopt(&fd, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(3, 0))?;
    let raw = fd.as_raw_fd();
    bind(raw, &SockaddrStorage::from(local))?;
    connect(raw, &SockaddrStorage::from(address))?;
    Ok(TcpStream::from(fd))
}

fn introduction(message: &[u8]) -> io::Result<(String, SocketAddr)> {
    let text = String::from_utf8_lossy(message);
    let mut words = text.split_whitespace();
    let parsed = words.next().zip(words.next().and_then(|peer| peer.parse().ok()));
    let (server, peer): (&str, SocketAddr) =
        parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not an introduction: {text:?}")))?;
    Ok((server.to_owned(), peer))
}

/// Serves TCP until the listener fails: introduces itself, then echoes.
pub fn serve_tcp(name: &str, listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let name = name.to_owned();
        std::thread::spawn(move || {
            let Ok(peer) = stream.peer_addr() else { return };
            let _ = stream.set_nodelay(true);
            if writeln!(&stream, "{name} {peer}").is_ok() {
                let _ = io::copy(&mut &stream, &mut &stream);
            }
        });
    }
}

/// Serves UDP until the socket fails.
pub fn serve_udp(name: &str, socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    // An ICMP error that a client's end has caused is reported by the next call, and is not the end.
    loop {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let mut answer = format!("{name} {peer} ").into_bytes();
            answer.extend_from_slice(&buffer[..length]);
            answer.truncate(65_507);
            let _ = socket.send_to(&answer, peer);
        }
    }
}

/// A result as the line of JSON that `netd-probe` prints.
#[must_use]
pub fn to_json(result: &io::Result<Reply>) -> Value {
    match result {
        Ok(reply) => json!({
            "server": reply.server,
            "seen_as": reply.seen_as.to_string(),
            "local": reply.local.to_string(),
            "peer": reply.peer.to_string(),
        }),
        Err(error) => json!({ "errno": error.raw_os_error(), "error": error.to_string() }),
    }
}

/// The other direction.
///
/// # Errors
/// The error that the JSON tells.
pub fn from_json(line: &str) -> io::Result<Reply> {
    let value: Value = serde_json::from_str(line).map_err(|error| io::Error::other(format!("{error} in {line:?}")))?;
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let address = |field: &str| text(field).parse().map_err(|_| io::Error::other(format!("no {field} in {line}")));
    if value["error"].is_string() {
        let errno = value["errno"].as_i64().and_then(|errno| i32::try_from(errno).ok());
        return Err(errno.map_or_else(|| io::Error::other(text("error")), io::Error::from_raw_os_error));
    }
    Ok(Reply { server: text("server"), seen_as: address("seen_as")?, local: address("local")?, peer: address("peer")? })
}
