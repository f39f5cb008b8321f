//! How do many datagrams go by one system call?

use super::datagrams::Message;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

/// Bytes of a datagram's payload.
pub const SIZE: usize = 64;
/// Datagrams that one call sends or receives.
const BATCH: usize = 64;

/// Buffers for [`BATCH`] datagrams with their peers' IPv4 addresses.
pub struct Batch {
    buffers: Box<[Message; BATCH]>,
    names: Box<[libc::sockaddr_in; BATCH]>,
    /// Point into the two above, by `headers`.
    _vectors: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
}

impl Batch {
    pub fn new(fill: Message) -> Self {
        let mut buffers = Box::new([fill; BATCH]);
        // SAFETY: all zero is a legal value of these structs of integers and pointers.
        let (name, empty): (libc::sockaddr_in, libc::mmsghdr) = unsafe { std::mem::zeroed() };
        let names = Box::new([name; BATCH]);
        let mut vectors = Box::new(
            buffers.each_mut().map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: SIZE }),
        );
        let headers = Box::new(vectors.each_mut().map(|vector| {
            let mut header = empty;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        }));
        Self { buffers, names, _vectors: vectors, headers }
    }

    /// Addresses all of them to a peer, for a socket that is not connected.
    pub fn address_to(&mut self, peer: SocketAddr) {
        let SocketAddr::V4(peer) = peer else { return };
        for name in self.names.iter_mut() {
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = peer.port().to_be();
            name.sin_addr.s_addr = u32::from(*peer.ip()).to_be();
        }
        self.point_to_names();
    }

    fn point_to_names(&mut self) {
        for (header, name) in self.headers.iter_mut().zip(self.names.iter_mut()) {
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
    }

    /// Sends as many as `count`, at most a batch; how many went.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> io::Result<usize> {
        let count = count.min(BATCH) as libc::c_uint;
        // SAFETY: the headers point to vectors, names and buffers on the heap that live as long as `self`.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for one, and takes what else is there, each with its sender.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<Vec<(&Message, SocketAddr)>> {
        self.point_to_names();
        let (headers, flags) = (self.headers.as_mut_ptr(), libc::MSG_WAITFORONE);
        // SAFETY: as in `send`; no time is given, the socket's own applies.
        let got =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), headers, BATCH as libc::c_uint, flags, std::ptr::null_mut()) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        let from = self.names.iter().map(|name| {
            let ip = u32::from_be(name.sin_addr.s_addr);
            SocketAddr::V4(SocketAddrV4::new(ip.into(), u16::from_be(name.sin_port)))
        });
        Ok(self.buffers.iter().zip(from).take(got).collect())
    }
}
