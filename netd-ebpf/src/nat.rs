//! How is a packet's tuple exchanged for another, checksums included?

use crate::frame::{ChecksumOf, Frame, Refused};
use crate::parse::{Head, Kind};
use crate::tables::Room;

/// Writes the tuple of `room.step` into the packet, and `room.head` (whose MAC addresses and time to live the caller may
/// have changed) back to it. The IPv4 checksum follows here, the transport's through the kernel, which may not have
/// filled it in yet (CHECKSUM_PARTIAL).
#[inline(always)]
pub fn translate<F: Frame>(frame: &mut F, room: &mut Room) -> Result<(), Refused> {
    let Room { head, key, step, packet, .. } = room;
    let kind = packet.kind();
    let source = step.source.octets_v4();
    let destination = step.destination.octets_v4();
    let addresses = add(difference(head.ipv4.source, source), difference(head.ipv4.destination, destination));
    head.ipv4.source = source;
    head.ipv4.destination = destination;
    head.ipv4.checksum = updated(head.ipv4.checksum, addresses);

    let checksum = packet.transport + kind.checksum();
    match kind {
        Kind::Tcp | Kind::Udp => {
            let (pseudo, segment) = if kind == Kind::Udp {
                (ChecksumOf::UdpPseudoHeader, ChecksumOf::UdpSegment)
            } else {
                (ChecksumOf::PseudoHeader, ChecksumOf::Segment)
            };
            frame.update_checksum(checksum, addresses, pseudo)?;
            let old = ports(key.source_port, key.destination_port);
            let new = ports(step.source_port, step.destination_port);
            if old != new {
                frame.update_checksum(checksum, difference(old, new), segment)?;
                frame.store(packet.transport, &new)?;
            }
        }
        Kind::EchoRequest | Kind::EchoReply => {
            let (old, new) = if kind == Kind::EchoRequest {
                (key.source_port, step.source_port)
            } else {
                (key.destination_port, step.destination_port)
            };
            if old != new {
                let [old_high, old_low] = old.to_be_bytes();
                let [new_high, new_low] = new.to_be_bytes();
                let change = difference([old_high, old_low, 0, 0], [new_high, new_low, 0, 0]);
                frame.update_checksum(checksum, change, ChecksumOf::Segment)?;
                frame.store(packet.transport + Kind::IDENTIFIER, &new.to_be_bytes())?;
            }
        }
        Kind::IcmpOther | Kind::Unknown | Kind::LaterFragment => return Err(Refused),
    }
    frame.store(0, head)
}

/// Takes one from the time to live, and from the checksum that covers it (RFC 1141). The caller has seen that it is
/// more than 1.
#[inline(always)]
pub fn decrement_ttl(head: &mut Head) {
    let old = [head.ipv4.ttl, head.ipv4.protocol, 0, 0];
    head.ipv4.ttl = head.ipv4.ttl.wrapping_sub(1);
    let new = [head.ipv4.ttl, head.ipv4.protocol, 0, 0];
    head.ipv4.checksum = updated(head.ipv4.checksum, difference(old, new));
}

#[inline(always)]
const fn ports(source: u16, destination: u16) -> [u8; 4] {
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

/// A checksum field after a difference.
#[inline(always)]
#[must_use]
pub const fn updated(checksum: [u8; 2], difference: u32) -> [u8; 2] {
    let sum = add(!u16::from_ne_bytes(checksum) as u32, difference);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_ne_bytes()
}

#[cfg(test)]
mod tests;
