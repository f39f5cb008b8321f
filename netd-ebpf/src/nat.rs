//! How is a packet's tuple exchanged for another, checksums included?

use crate::frame::{ChecksumOf, Frame, Refused, Stack};
use crate::parse::ip::{Ipv4, Ipv6};
use crate::parse::{ETHERNET_SIZE, Family, Kind};
use crate::tables::Room;
use netd_common::Addr;

/// Writes the tuple of `room.step`, which is of the packet's own family, into the packet, and its headers in `room` (whose
/// MAC addresses and time to live the caller may have changed) back to it. The IPv4 checksum follows here, the transport's
/// through the kernel, which may not have filled it in yet (CHECKSUM_PARTIAL).
///
/// It has a stack frame of its own.
///
/// # Errors
/// When the packet cannot be changed, or its transport does not allow it.
#[inline(never)]
pub fn translate<F: Frame + Stack>(frame: &mut F, room: &mut Room) -> Result<(), Refused> {
    let Room { head, ipv6, step, packet, .. } = room;
    let addresses = match head.ethernet.family() {
        Family::V6 => {
            let addresses = exchange_v6(frame, ipv6, &step.source, &step.destination);
            frame.correct_sum(add(addresses, gain_by_hop(ipv6, packet.ttl)));
            addresses
        }
        Family::V4 | Family::Other => head.ipv4.exchange(&step.source, &step.destination),
    };
    transport(frame, room, addresses)?;
    store_headers(frame, room)
}

/// Writes the ports of `room.step`, and the checksums for them and for a pseudo-header that changed by `addresses`.
///
/// # Errors
/// As [`translate`].
#[inline(always)]
pub fn transport<F: Frame>(frame: &mut F, room: &Room, addresses: u32) -> Result<(), Refused> {
    let Room { head, key, step, packet, .. } = room;
    let kind = packet.kind();
    let checksum = packet.transport + kind.checksum();
    let (pseudo, segment) = match kind {
        Kind::Udp => (ChecksumOf::UdpPseudoHeader, ChecksumOf::UdpSegment),
        _ => (ChecksumOf::PseudoHeader, ChecksumOf::Segment),
    };
    match kind {
        Kind::Tcp | Kind::Udp => {
            frame.update_checksum(checksum, addresses, pseudo)?;
            let old = ports(key.source_port, key.destination_port);
            let new = ports(step.source_port, step.destination_port);
            if old != new {
                frame.update_checksum(checksum, difference(old, new), segment)?;
                frame.store(packet.transport, &new)?;
            }
        }
        Kind::EchoRequest | Kind::EchoReply => {
            if head.ethernet.family() == Family::V6 {
                frame.update_checksum(checksum, addresses, pseudo)?;
            }
            let (old, new) = if kind == Kind::EchoRequest {
                (key.source_port, step.source_port)
            } else {
                (key.destination_port, step.destination_port)
            };
            if old != new {
                frame.update_checksum(checksum, difference(ports(old, 0), ports(new, 0)), segment)?;
                frame.store(packet.transport + Kind::IDENTIFIER, &new.to_be_bytes())?;
            }
        }
        // The checksum covers the ports, and is not to be had for a difference.
        Kind::Sctp if key.source_port != step.source_port || key.destination_port != step.destination_port => {
            return Err(Refused);
        }
        Kind::Sctp | Kind::Followed => {}
        Kind::Unknown | Kind::IcmpError | Kind::Neighbour | Kind::IcmpOther | Kind::LaterFragment => {
            return Err(Refused);
        }
    }
    Ok(())
}

/// Writes the headers back.
///
/// # Errors
/// When the packet cannot be changed.
#[inline(always)]
pub fn store_headers<F: Frame>(frame: &mut F, room: &Room) -> Result<(), Refused> {
    match room.head.ethernet.family() {
        Family::V4 => frame.store(0, &room.head),
        Family::V6 => {
            frame.store(0, &room.head.ethernet)?;
            frame.store(ETHERNET_SIZE, &room.ipv6)
        }
        Family::Other => frame.store(0, &room.head.ethernet),
    }
}

impl Ipv4 {
    /// Exchanges both addresses; returns what a pseudo-header over them gains.
    #[inline(always)]
    pub const fn exchange(&mut self, source: &Addr, destination: &Addr) -> u32 {
        let (source, destination) = (source.octets_v4(), destination.octets_v4());
        let gain = add(difference(self.source, source), difference(self.destination, destination));
        self.source = source;
        self.destination = destination;
        self.checksum = updated(self.checksum, gain);
        gain
    }
}

impl Ipv4 {
    /// Writes the checksum of a header without options.
    #[inline(always)]
    pub const fn seal(&mut self) {
        let [len_high, len_low] = self.total_len;
        let [id_high, id_low] = self.id;
        let [fragment_high, fragment_low] = self.fragment;
        let lengths = u32::from_ne_bytes([self.version_ihl, self.tos, len_high, len_low]);
        let fragment = u32::from_ne_bytes([id_high, id_low, fragment_high, fragment_low]);
        let hop = u32::from_ne_bytes([self.ttl, self.protocol, 0, 0]);
        let addresses = add(u32::from_ne_bytes(self.source), u32::from_ne_bytes(self.destination));
        self.checksum = (!folded(add(add(lengths, fragment), add(hop, addresses)))).to_ne_bytes();
    }
}

/// As [`Ipv4::exchange`], for IPv6.
#[inline(always)]
pub fn exchange_v6<F: Stack>(frame: &F, ipv6: &mut Ipv6, source: &Addr, destination: &Addr) -> u32 {
    let old = frame.sum(ipv6);
    ipv6.source = *source;
    ipv6.destination = *destination;
    add(!old, frame.sum(ipv6))
}

/// Takes one from the time to live, and from IPv4's checksum over it (RFC 1141). The caller has seen that it is
/// more than 1.
#[inline(always)]
pub fn decrement_ttl(room: &mut Room) {
    let Room { head, ipv6, .. } = room;
    if head.ethernet.family() == Family::V6 {
        ipv6.hop_limit = ipv6.hop_limit.wrapping_sub(1);
        return;
    }
    let old = [head.ipv4.ttl, head.ipv4.protocol, 0, 0];
    head.ipv4.ttl = head.ipv4.ttl.wrapping_sub(1);
    let new = [head.ipv4.ttl, head.ipv4.protocol, 0, 0];
    head.ipv4.checksum = updated(head.ipv4.checksum, difference(old, new));
}

/// What an IPv6 header gains that came with the hop limit `ttl`.
#[inline(always)]
#[must_use]
pub const fn gain_by_hop(ipv6: &Ipv6, ttl: u8) -> u32 {
    difference([ipv6.next_header, ttl, 0, 0], [ipv6.next_header, ipv6.hop_limit, 0, 0])
}

/// Two ports as they stand in a packet.
#[inline(always)]
#[must_use]
pub const fn ports(source: u16, destination: u16) -> [u8; 4] {
    let [a, b] = source.to_be_bytes();
    let [c, d] = destination.to_be_bytes();
    [a, b, c, d]
}

/// What a checksum gains when four bytes change: one's complement, in the byte order of memory (RFC 1624).
#[inline(always)]
#[must_use]
pub const fn difference(old: [u8; 4], new: [u8; 4]) -> u32 {
    add(!u32::from_ne_bytes(old), u32::from_ne_bytes(new))
}

/// One's complement addition.
#[inline(always)]
#[must_use]
pub const fn add(a: u32, b: u32) -> u32 {
    let sum = a as u64 + b as u64;
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

/// A sum of four bytes at a time as one of two bytes at a time.
#[inline(always)]
#[must_use]
pub const fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A checksum field after a difference.
#[inline(always)]
#[must_use]
pub const fn updated(checksum: [u8; 2], difference: u32) -> [u8; 2] {
    let sum = add(!u16::from_ne_bytes(checksum) as u32, difference);
    (!folded(sum)).to_ne_bytes()
}

#[cfg(test)]
mod tests;
