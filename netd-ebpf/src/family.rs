//! How does an IPv6 client reach an IPv4 container through a published port, and how does the answer come back?
//!
//! The IP header is exchanged for one of the other family (as RFC 7915 does it), in both directions of a flow whose two
//! sides are of different families. The client has no IPv4 address, so the container sees [`netd_common::globals::PROXY_V4`]
//! instead, as it would see the address of a proxy. TCP and UDP in whole packets only.

use crate::frame::{Frame, Refused, Stack};
use crate::nat::{add, store_headers, transport};
use crate::parse::ip::{DONT_FRAGMENT, IPV4_SIZE_MIN, IPV6_SIZE, Ipv4, Ipv6};
use crate::parse::{ETHERNET_SIZE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, Kind};
use crate::tables::Room;
use netd_common::Addr;
use netd_common::publish::UDP;

/// How much longer an IPv6 header is.
pub const GROWTH: u32 = IPV6_SIZE - IPV4_SIZE_MIN;

/// Whether the packet's flow leads to the other family.
#[inline(always)]
pub fn changes(room: &Room) -> bool {
    room.step.source.is_v4() != (room.head.ethernet.family() == Family::V4)
}

/// Whether a packet's header can be exchanged: of TCP or UDP, whole, without options or extension headers.
#[inline(always)]
pub fn is_possible(room: &Room) -> bool {
    let size = if room.head.ethernet.family() == Family::V6 { IPV6_SIZE } else { IPV4_SIZE_MIN };
    matches!(room.packet.kind(), Kind::Tcp | Kind::Udp)
        && !room.packet.is_fragment()
        && room.packet.transport == ETHERNET_SIZE + size
}

/// Does for such a flow what [`crate::nat::translate`] does for others.
///
/// # Errors
/// When it is not possible, the packet is a UDP datagram without a checksum, which IPv6 does not allow (RFC 8200
/// section 8.1), or it cannot be changed.
#[inline(never)]
pub fn translate<F: Frame + Stack>(frame: &mut F, room: &mut Room) -> Result<(), Refused> {
    let to = if room.step.source.is_v4() { Family::V4 } else { Family::V6 };
    if !is_possible(room) || to == Family::V6 && room.key.protocol == UDP && has_no_checksum(frame, room) {
        return Err(Refused);
    }
    let old = sum_of_both(frame, &room.key.source, &room.key.destination);
    let addresses = add(!old, sum_of_both(frame, &room.step.source, &room.step.destination));
    let Room { head, ipv6, key, step, packet, .. } = &mut *room;
    frame.change_family(to)?;
    // What stands where the new header will be counts no longer. An IPv4 header sums up to nothing.
    if to == Family::V4 {
        if !frame.read(ETHERNET_SIZE, &mut head.ipv4) {
            return Err(Refused);
        }
        frame.correct_sum(!frame.sum(&head.ipv4));
        head.ethernet.ethertype = ETHERTYPE_IPV4;
        head.ipv4.become_of(ipv6, key.protocol, &step.source, &step.destination);
        packet.transport = ETHERNET_SIZE + IPV4_SIZE_MIN;
    } else {
        head.ethernet.ethertype = ETHERTYPE_IPV6;
        ipv6.become_of(&head.ipv4, key.protocol, &step.source, &step.destination);
        frame.correct_sum(frame.sum(ipv6));
        packet.transport = ETHERNET_SIZE + IPV6_SIZE;
    }
    transport(frame, room, addresses)?;
    store_headers(frame, room)
}

#[inline(always)]
fn has_no_checksum<F: Frame>(frame: &F, room: &Room) -> bool {
    frame.load::<[u8; 2]>(room.packet.transport + Kind::Udp.checksum()).is_none_or(|checksum| checksum == [0, 0])
}

/// What a pseudo-header over both addresses sums up to.
#[inline(always)]
pub fn sum_of_both<F: Stack>(frame: &F, source: &Addr, destination: &Addr) -> u32 {
    if source.is_v4() {
        add(u32::from_ne_bytes(source.octets_v4()), u32::from_ne_bytes(destination.octets_v4()))
    } else {
        add(frame.sum(source), frame.sum(destination))
    }
}

impl Ipv4 {
    /// Becomes the header of the same packet in this family.
    #[inline(always)]
    pub fn become_of(&mut self, ipv6: &Ipv6, protocol: u8, source: &Addr, destination: &Addr) {
        let [a, b, ..] = ipv6.version_class_flow;
        self.version_ihl = 0x45;
        self.tos = a << 4 | b >> 4;
        // 0 stays 0: a segment too large for the field.
        self.total_len = match u16::from_be_bytes(ipv6.payload_len) {
            0 => [0, 0],
            len => len.wrapping_add(IPV4_SIZE_MIN as u16).to_be_bytes(),
        };
        self.id = [0, 0];
        self.fragment = DONT_FRAGMENT.to_be_bytes();
        self.ttl = ipv6.hop_limit;
        self.protocol = protocol;
        self.source = source.octets_v4();
        self.destination = destination.octets_v4();
        self.seal();
    }
}

impl Ipv6 {
    /// As [`Ipv4::become_of`].
    #[inline(always)]
    pub fn become_of(&mut self, ipv4: &Ipv4, protocol: u8, source: &Addr, destination: &Addr) {
        self.version_class_flow = [0x60 | ipv4.tos >> 4, ipv4.tos << 4, 0, 0];
        self.payload_len = match u16::from_be_bytes(ipv4.total_len) {
            0 => [0, 0],
            len => len.wrapping_sub(IPV4_SIZE_MIN as u16).to_be_bytes(),
        };
        self.next_header = protocol;
        self.hop_limit = ipv4.ttl;
        self.source = *source;
        self.destination = *destination;
    }
}
