//! Which congestion control do all sockets have?

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt};
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};

/// Set on each socket, because a namespace takes only what the machine's own namespace allows as its default. What a
/// listener has its connections have.
const CONGESTION_CONTROL: &str = "cubic";

pub fn control(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::TcpCongestion, &OsString::from(CONGESTION_CONTROL))?)
}

/// A connection; the attempt ends after 3 s.
pub fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    control(&fd)?;
    // SO_SNDTIMEO bounds connect(2) too: socket(7).
    setsockopt(&fd, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(3, 0))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(TcpStream::from(fd))
}
