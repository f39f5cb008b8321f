//! How are frames sent and seen that no ordinary socket would send or show?

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::world::Place;

/// An interface, opened for whole Ethernet frames (packet(7)).
#[derive(Debug)]
pub struct Wire {
    fd: OwnedFd,
    /// The interface's own address.
    pub mac: [u8; 6],
}

/// A frame as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// At most the first 2,048 bytes.
    pub bytes: Vec<u8>,
    /// Its whole length.
    pub length: usize,
}

impl Wire {
    /// Opens the interface `name` of a place.
    #[must_use]
    pub fn open(place: &Place, name: &str) -> Self {
        let mac = place.sh(&format!("ip -o link show {name} | sed 's/.*ether \\([0-9a-f:]*\\).*/\\1/'"));
        let fd = place.run(|| {
            let index = nix::net::if_::if_nametoindex(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .expect("a packet socket");
            bind_to(&fd, index);
            fd
        });
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).expect("a receive timeout");
        Self { fd, mac: parse_mac(mac.trim()) }
    }

    /// Sends a frame as it is. Frames shorter than an Ethernet header are refused by the kernel (`EINVAL`): whether the
    /// frame went out.
    pub fn send(&self, frame: &[u8]) -> bool {
        nix::sys::socket::send(self.fd.as_raw_fd(), frame, nix::sys::socket::MsgFlags::empty()).is_ok()
    }

    /// The next frame that comes in or goes out, if one does within 20 ms.
    pub fn next(&self) -> Option<Seen> {
        let mut buffer = vec![0; 2048];
        let length = self.read(&mut buffer)?;
        buffer.truncate(length);
        Some(Seen { bytes: buffer, length })
    }

    /// Reads that frame into a buffer; its whole length.
    pub fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        nix::sys::socket::recv(self.fd.as_raw_fd(), buffer, nix::sys::socket::MsgFlags::MSG_TRUNC).ok()
    }

    /// Has what is read begin with a `struct virtio_net_hdr`, which tells what is left to the device.
    ///
    /// # Errors
    /// What the socket says.
    pub fn show_offload(&self) -> std::io::Result<()> {
        crate::probe::set_option(&self.fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)
    }

    /// The first frame within `timeout` that `wanted` likes.
    pub fn wait_for(&self, timeout: Duration, mut wanted: impl FnMut(&Seen) -> bool) -> Option<Seen> {
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            if let Some(seen) = self.next().filter(|seen| wanted(seen)) {
                return Some(seen);
            }
        }
        None
    }

    /// Throws away what has come so far.
    pub fn drain(&self) {
        while self.next().is_some() {}
    }
}

fn bind_to(fd: &OwnedFd, index: u32) {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("a small number"),
        sll_protocol: u16::try_from(libc::ETH_P_ALL).expect("a small number").to_be(),
        sll_ifindex: i32::try_from(index).expect("an interface index"),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("a small size");
    // SAFETY: `address` is a whole sockaddr_ll, `length` is its size, and bind(2) only reads it.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    assert_eq!(bound, 0, "binding a packet socket: {}", std::io::Error::last_os_error());
}

/// Six hexadecimal bytes with colons.
#[must_use]
pub fn parse_mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a MAC address")).collect();
    bytes.try_into().expect("six bytes")
}

/// The one's complement sum of runs of bytes, each padded to an even length (RFC 1071).
#[must_use]
pub fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0))).sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

/// The ends of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

impl Ends {
    fn builder(&self) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        etherparse::PacketBuilder::ethernet2(self.source_mac, self.destination_mac).ipv4(
            self.source.octets(),
            self.destination.octets(),
            64,
        )
    }

    #[must_use]
    pub fn udp(&self, source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().udp(source_port, destination_port).write(&mut frame, payload).expect("a frame in memory");
        frame
    }

    /// A TCP SYN.
    #[must_use]
    pub fn syn(&self, source_port: u16, destination_port: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        let segment = self.builder().tcp(source_port, destination_port, 1000, 64_000).syn();
        segment.write(&mut frame, &[]).expect("a frame in memory");
        frame
    }

    /// A TCP segment with PSH and ACK.
    #[must_use]
    pub fn segment(&self, source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let segment = self.builder().tcp(source_port, destination_port, 1000, 64_000).ack(1).psh();
        segment.write(&mut frame, payload).expect("a frame in memory");
        frame
    }

    #[must_use]
    pub fn echo_request(&self, id: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().icmpv4_echo_request(id, 1).write(&mut frame, payload).expect("a frame in memory");
        frame
    }

    /// Who has `destination`? Broadcast.
    #[must_use]
    pub fn arp_request(&self) -> Vec<u8> {
        self.arp(etherparse::ArpOperation::REQUEST, [0xff; 6], [0; 6])
    }

    fn arp(&self, operation: etherparse::ArpOperation, to: [u8; 6], target: [u8; 6]) -> Vec<u8> {
        let packet = etherparse::ArpEthIpv4Packet {
            operation,
            sender_mac: self.source_mac,
            sender_ipv4: self.source.octets(),
            target_mac: target,
            target_ipv4: self.destination.octets(),
        };
        let mut frame = Vec::new();
        let builder = etherparse::PacketBuilder::ethernet2(self.source_mac, to).arp(packet.into());
        builder.write(&mut frame).expect("a frame in memory");
        frame
    }
}

/// The MAC address that an ARP answer to us gives for `address`.
#[must_use]
pub fn arp_answer(frame: &[u8], address: Ipv4Addr) -> Option<[u8; 6]> {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    let Some(etherparse::NetSlice::Arp(arp)) = sliced.net else { return None };
    let answers = arp.operation() == etherparse::ArpOperation::REPLY && arp.sender_protocol_addr() == address.octets();
    if answers { arp.sender_hw_addr().try_into().ok() } else { None }
}

/// Whether the frame's payload holds these bytes.
#[must_use]
pub fn contains(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}
