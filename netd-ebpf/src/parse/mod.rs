//! What does a packet say it is?
//!
//! Two steps: [`head`] reads the link-layer and IP headers, which is all that switching needs; [`packet`] reads what is
//! behind them, for packets that are routed. After these two only [`crate::nat`] knows which family it is. Any bytes give
//! an answer, never a panic.

mod extension;
pub mod ip;
pub mod transport;

use crate::frame::{Frame, Readable, Stack, Wire};
use crate::tables::Room;
use ip::Ipv4;
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::publish::{ICMP, ICMPV6};
pub use transport::{Kind, Packet};

pub const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
pub const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
pub const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

pub const ETHERNET_SIZE: u32 = 14;

/// Ethernet II (IEEE 802.3 clause 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ethernet {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    pub ethertype: [u8; 2],
}

/// Both, since they are read and written in one call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub ethernet: Ethernet,
    /// Meaningful when the ethertype says so.
    pub ipv4: Ipv4,
}

// SAFETY: each is made of byte arrays, or of types that are.
unsafe impl Wire for Ethernet {}
// SAFETY: as above.
unsafe impl Wire for Head {}
// SAFETY: bytes.
unsafe impl<const N: usize> Wire for [u8; N] {}
// SAFETY: bytes.
unsafe impl Wire for Addr {}

/// Which headers stand behind the link layer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    /// Neither.
    Other,
}

impl Ethernet {
    /// Writes both addresses, byte by byte: a copy of six becomes a loop in a function.
    #[inline(always)]
    pub const fn address(&mut self, destination: &[u8; 6], source: &[u8; 6]) {
        let [a, b, c, d, e, f] = *destination;
        self.destination = [a, b, c, d, e, f];
        let [a, b, c, d, e, f] = *source;
        self.source = [a, b, c, d, e, f];
    }

    #[inline(always)]
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.ethertype {
            ETHERTYPE_IPV4 => Family::V4,
            ETHERTYPE_IPV6 => Family::V6,
            _ => Family::Other,
        }
    }
}

/// Reads the link-layer header into `room.head` and, where one follows, the IP header beside it.
///
/// # Errors
/// [`DropReason::Malformed`] when there is no whole header, or the IP header contradicts itself or the length.
#[inline(always)]
pub fn head<F: Readable>(frame: &F, room: &mut Room) -> Result<(), DropReason> {
    let Room { head, ipv6, .. } = room;
    if !frame.read(0, head) {
        // ARP and IP are longer than this; another ethertype may be shorter.
        let is_read = frame.read(0, &mut head.ethernet);
        let is_short = matches!(head.ethernet.ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | ETHERTYPE_ARP);
        return if is_read && !is_short { Ok(()) } else { Err(DropReason::Malformed) };
    }
    match head.ethernet.family() {
        Family::V4 => head.ipv4.check(frame.len()),
        Family::V6 => {
            if !frame.read(ETHERNET_SIZE, ipv6) {
                return Err(DropReason::Malformed);
            }
            ipv6.check(frame.len())
        }
        Family::Other => Ok(()),
    }
}

/// Reads the rest of an IP packet that is seen at `side` (`side` of [`netd_common::flow::FlowKey`]), whose headers [`head`]
/// has read: its tuple to `room.key`, all else to `room.packet`.
///
/// # Errors
/// [`DropReason::Malformed`] when a header that must be there is not, or an address of IPv6 is a v4-mapped one,
/// [`DropReason::ExtensionHeaders`] when there are too many.
#[inline(always)]
pub fn packet<F: Frame + Stack>(frame: &F, room: &mut Room, side: u8) -> Result<(), DropReason> {
    room.key.side = side;
    room.key.pad = [0; 2];
    room.packet.tcp_flags = 0;
    room.packet.kind = Kind::Unknown as u8;
    match room.head.ethernet.family() {
        Family::V6 => ipv6(frame, room)?,
        Family::V4 | Family::Other => ipv4(frame, room),
    }
    if room.packet.is_later_fragment() {
        room.packet.kind = Kind::LaterFragment as u8;
        room.key.source_port = 0;
        room.key.destination_port = 0;
        return Ok(());
    }
    transport::read(frame, &mut room.key, &mut room.packet)
}

#[inline(always)]
fn ipv4<F: Readable>(frame: &F, room: &mut Room) {
    let Room { head, key, packet, .. } = room;
    let ipv4 = &head.ipv4;
    key.source = Addr::v4(ipv4.source);
    key.destination = Addr::v4(ipv4.destination);
    key.protocol = if ipv4.protocol == ICMPV6 { NOBODY } else { ipv4.protocol };
    packet.ttl = ipv4.ttl;
    packet.transport = ETHERNET_SIZE + ipv4.header_len();
    packet.size = ipv4.total_len(frame.len()).saturating_sub(ipv4.header_len());
    let (offset, has_more) = ipv4.fragment();
    packet.fragment_offset = offset;
    packet.is_fragment = u8::from(has_more || offset != 0);
    packet.fragment_id = u32::from(u16::from_be_bytes(ipv4.id));
}

#[inline(always)]
fn ipv6<F: Frame + Stack>(frame: &F, room: &mut Room) -> Result<(), DropReason> {
    let Room { ipv6, key, packet, .. } = room;
    // No host sends these (RFC 4291 section 2.5.5.2), and in the maps they are IPv4's.
    if ipv6.source.is_v4() || ipv6.destination.is_v4() {
        return Err(DropReason::Malformed);
    }
    key.source = ipv6.source;
    key.destination = ipv6.destination;
    key.protocol = ipv6.next_header;
    packet.ttl = ipv6.hop_limit;
    packet.transport = ETHERNET_SIZE + ip::IPV6_SIZE;
    packet.size = ipv6.payload_len(frame.len());
    packet.fragment_offset = 0;
    packet.is_fragment = 0;
    packet.fragment_id = 0;
    key.protocol = beyond_extensions(frame, key.protocol, packet)?;
    if key.protocol == ICMP {
        key.protocol = NOBODY;
    }
    Ok(())
}

/// Moves `packet` on to the transport header behind extension headers, if there are any; returns its protocol.
///
/// # Errors
/// [`DropReason::Malformed`] when the chain leaves the packet, [`DropReason::ExtensionHeaders`] when it is too long.
#[inline(always)]
pub fn beyond_extensions<F: Frame + Stack>(frame: &F, next_header: u8, packet: &mut Packet) -> Result<u8, DropReason> {
    if extension::is_one(next_header) { extension::follow(frame, next_header, packet) } else { Ok(next_header) }
}

/// ICMP of the other family, which nobody speaks: a protocol that is reserved (IANA assigned).
const NOBODY: u8 = 255;
