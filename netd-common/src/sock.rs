//! What did a program of the host dial, when its socket was turned to a container?

use crate::Addr;

/// Key of `SOCK_ORIGIN`: a socket, and the container it was turned to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockKey {
    /// `SO_COOKIE` of the socket.
    pub cookie: u64,
    /// The container's address and port.
    pub address: Addr,
    pub port: u16,
    pub pad: [u8; 6],
}

/// Value of `SOCK_ORIGIN`: what the program dialled, and so what `getpeername` and `recvmsg` tell it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialled {
    pub address: Addr,
    pub port: u16,
    pub pad: [u8; 2],
}
