//! What are the host's own sockets bound to, and who has them?
//!
//! All of it is about the network namespace of the calling thread, by `sock_diag(7)`.

use crate::model::command::HostSocket;
use crate::model::state::Protocol;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Every TCP listener and every bound, unconnected UDP socket of this network namespace, both families. An address that
/// is v4-mapped is told as IPv4.
pub fn bound() -> io::Result<BTreeSet<HostSocket>> {
    let diag = Diag::open()?;
    let mut sockets = BTreeSet::new();
    for family in [AF_INET, AF_INET6] {
        // A UDP socket that is not connected is CLOSE, as is a TCP socket that does nothing yet.
        let kinds = [(Protocol::Tcp, IPPROTO_TCP, StateFlags::LISTEN), (Protocol::Udp, IPPROTO_UDP, StateFlags::CLOSE)];
        for (protocol, number, states) in kinds {
            sockets.extend(diag.dump(family, number, states)?.into_iter().map(|found| HostSocket {
                protocol,
                port: found.header.socket_id.source_port,
                address: found.header.socket_id.source_address.to_canonical(),
                inode: found.header.inode,
                ipv6_only: found.nlas.contains(&Nla::SkV6Only(true)),
            }));
        }
    }
    sockets.retain(|socket| socket.port != 0);
    Ok(sockets)
}

/// The process that holds the socket with this inode, as `name (pid N)`; none when it cannot be known.
#[must_use]
pub fn process_of(inode: u32) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while we look, or be another user's.
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()));
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (pid {pid})", name.trim_end()));
        }
    }
    None
}

/// A connected UDP socket, and its peer: an address that is v4-mapped is told as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// `SO_COOKIE`.
    pub cookie: u64,
    pub peer: IpAddr,
    pub port: u16,
}

/// Destroys the connected UDP sockets of this network namespace that are doomed, so that their programs dial again
/// (`SOCK_DESTROY`, Linux 4.5): who waits for a datagram on one is told `ECONNABORTED`, who sends `EDESTADDRREQ`, since
/// it is connected no more. Returns how many.
pub fn destroy_udp(is_doomed: impl Fn(&Connected) -> bool) -> io::Result<usize> {
    let diag = Diag::open()?;
    let mut destroyed = 0;
    // An IPv4 peer may be dialled by an IPv6 socket, as v4-mapped.
    for family in [AF_INET, AF_INET6] {
        for found in diag.dump(family, IPPROTO_UDP, StateFlags::ESTABLISHED)? {
            let id = found.header.socket_id;
            let connected = Connected {
                cookie: cookie_of(&id),
                peer: id.destination_address.to_canonical(),
                port: id.destination_port,
            };
            if is_doomed(&connected) {
                destroyed += usize::from(diag.destroy(family, IPPROTO_UDP, id)?);
            }
        }
    }
    Ok(destroyed)
}

/// Two native words, the low one first (`sock_diag_save_cookie`).
fn cookie_of(id: &SocketId) -> u64 {
    let [a, b, c, d, e, f, g, h] = id.cookie;
    u64::from(u32::from_ne_bytes([e, f, g, h])) << 32 | u64::from(u32::from_ne_bytes([a, b, c, d]))
}

/// `SO_NETNS_COOKIE` of this network namespace (Linux 5.14).
pub fn netns_cookie() -> io::Result<u64> {
    // Not bound to an address: the loopback device may be down there.
    netns_cookie_of(&UdpSocket::bind(("0.0.0.0", 0))?)
}

/// The same, of the one that a socket is in.
pub fn netns_cookie_of(socket: &UdpSocket) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut size = libc::socklen_t::try_from(size_of_val(&cookie)).unwrap_or_default();
    // SAFETY: `socket` keeps the descriptor open during the call, and the kernel writes at most `size` bytes, which is
    // the size of `cookie`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if done == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// A socket of `sock_diag(7)`. One request at a time.
struct Diag(Socket);

impl Diag {
    fn open() -> io::Result<Self> {
        Ok(Self(Socket::new(NETLINK_SOCK_DIAG)?))
    }

    fn dump(&self, family: u8, protocol: u8, states: StateFlags) -> io::Result<Vec<InetResponse>> {
        let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let message = SockDiagMessage::InetRequest(request(family, protocol, states, any));
        self.send(message, NLM_F_DUMP)?;
        let mut found = Vec::new();
        match self.receive(|message| {
            if let SockDiagMessage::InetResponse(response) = message {
                found.push(*response);
            }
        }) {
            // A kernel without the family or without udp_diag has no such sockets to tell of.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAFNOSUPPORT)) => Ok(Vec::new()),
            done => done.map(|()| found),
        }
    }

    /// False when the socket went away by itself.
    fn destroy(&self, family: u8, protocol: u8, id: SocketId) -> io::Result<bool> {
        let message = SockDiagMessage::InetRequest(request(family, protocol, StateFlags::ESTABLISHED, id));
        self.send(SockDiagDestroy::new(message), NLM_F_ACK)?;
        match self.receive(drop) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            done => done.map(|()| true),
        }
    }

    fn send<M>(&self, message: M, flags: u16) -> io::Result<()>
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(drop)
    }

    /// Reads until the answer is over: an error, an acknowledgement, or the end of a dump.
    fn receive(&self, mut each: impl FnMut(SockDiagMessage)) -> io::Result<()> {
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
                // Messages are aligned to 4 bytes (NLMSG_ALIGN); the last may lack its padding.
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            Some(code) => Err(io::Error::from_raw_os_error(code.get().saturating_abs())),
                            None => Ok(()),
                        };
                    }
                    _ => {}
                }
            }
        }
    }
}

fn request(family: u8, protocol: u8, states: StateFlags, socket_id: SocketId) -> InetRequest {
    InetRequest { family, protocol, extensions: ExtensionFlags::empty(), states, socket_id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::{FromRawFd as _, OwnedFd};
    use std::os::unix::fs::MetadataExt;

    fn inode(socket: &impl AsRawFd) -> u32 {
        let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
        std::fs::metadata(link).expect("an open socket").ino().try_into().expect("32 bits")
    }

    #[test]
    fn listeners_and_unconnected_udp_sockets_are_bound() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let udp = UdpSocket::bind(("0.0.0.0", 0)).expect("a socket");
        let connected = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        connected.connect((Ipv4Addr::LOCALHOST, 9)).expect("UDP connects to anything");
        let bound = bound().expect("sock_diag answers");
        let port = |address: io::Result<std::net::SocketAddr>| address.expect("an address").port();
        assert!(bound.contains(&HostSocket {
            protocol: Protocol::Tcp,
            port: port(tcp.local_addr()),
            address: Ipv4Addr::LOCALHOST.into(),
            inode: inode(&tcp),
            ipv6_only: false,
        }));
        assert!(bound.contains(&HostSocket {
            protocol: Protocol::Udp,
            port: port(udp.local_addr()),
            address: Ipv4Addr::UNSPECIFIED.into(),
            inode: inode(&udp),
            ipv6_only: false,
        }));
        assert!(!bound.iter().any(|socket| socket.inode == inode(&connected)));
    }

    #[test]
    fn an_ipv6_socket_tells_whether_it_is_there_for_ipv4_too() {
        let both = UdpSocket::bind("[::]:0").expect("a socket");
        // The standard library has no such option.
        let one = 1_i32;
        // SAFETY: socket(2), setsockopt(2) and listen(2) read what they are given for the time of the call; the
        // descriptor is new, and nobody else's.
        let listener = unsafe {
            let socket = OwnedFd::from_raw_fd(libc::socket(libc::AF_INET6, libc::SOCK_STREAM, 0));
            let fd = socket.as_raw_fd();
            libc::setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, (&raw const one).cast(), 4);
            assert_eq!(libc::listen(fd, 1), 0, "bound to a port of the kernel's choice");
            socket
        };
        let bound = bound().expect("sock_diag answers");
        let told = |inode| bound.iter().find(|socket| socket.inode == inode).map(|socket| socket.ipv6_only);
        assert_eq!(told(inode(&both)), Some(false));
        assert_eq!(told(inode(&listener)), Some(true));
    }

    #[test]
    fn the_process_of_a_socket_is_told_by_name() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let told = process_of(inode(&tcp)).expect("our own socket");
        assert!(told.ends_with(&format!("(pid {})", std::process::id())), "{told}");
        let inode = inode(&tcp);
        drop(tcp);
        assert_eq!(process_of(inode), None);
    }

    #[test]
    fn the_cookie_of_a_namespace_stays() {
        let cookie = netns_cookie().expect("Linux 5.14");
        assert_ne!(cookie, 0);
        assert_eq!(netns_cookie().expect("Linux 5.14"), cookie);
    }
}
