//! What does an ICMP error become whose flow has its two sides in different families?
//!
//! Both headers, its own and the quoted packet's, are exchanged for others, and type, code and MTU said in the other
//! family's words (RFC 7915 sections 4.2 and 5.2). Who sent it has no address there, so it comes from the one that stands
//! for the answerer.

use crate::family::{GROWTH, sum_of_both};
use crate::frame::{Frame, Refused, Stack, Wire};
use crate::nat::{add, difference, folded, ports, updated};
use crate::parse::ip::{IPV4_SIZE_MIN, IPV6_SIZE, Ipv4, Ipv6};
use crate::parse::transport::{
    ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE, ICMPV6_PARAMETER_PROBLEM, ICMPV6_TIME_EXCEEDED, ICMPV6_TOO_BIG,
    ICMPV6_UNREACHABLE,
};
use crate::parse::{ETHERNET_SIZE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family};
use crate::tables::Room;
use netd_common::drop::DropReason;
use netd_common::publish::{ICMP, ICMPV6};

/// Bytes of the message before the quote.
const MESSAGE: u32 = 8;
/// What every link of IPv6 takes (RFC 8200 section 5).
const MTU_MIN: u32 = 1280;

/// Room for an error's headers, in either family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    v4: ErrorV4,
    v6: ErrorV6,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ErrorV4 {
    header: Ipv4,
    message: [u8; 8],
    quote: Ipv4,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ErrorV6 {
    header: Ipv6,
    message: [u8; 8],
    quote: Ipv6,
}

// SAFETY: made of byte arrays, or of types that are.
unsafe impl Wire for ErrorV4 {}
// SAFETY: as above.
unsafe impl Wire for ErrorV6 {}

/// Makes the error, of which `room.quoted` has been read, into one of the other family.
///
/// # Errors
/// [`DropReason::IcmpUnsupported`] for one that the other family has no word for, or that is a fragment or has options or
/// extension headers, [`DropReason::RewriteFailed`] when the packet cannot be changed.
#[inline(always)]
pub fn translate<F: Frame + Stack>(frame: &mut F, room: &mut Room) -> Result<(), DropReason> {
    let Some([icmp_type, code, _, _, a, b, c, d]) = frame.load::<[u8; 8]>(room.packet.transport) else {
        return Err(DropReason::Malformed);
    };
    let is_to_v4 = room.step.source.is_v4();
    let word = u32::from_be_bytes([a, b, c, d]);
    let message = if is_to_v4 { message_v4(icmp_type, code, word) } else { message_v6(icmp_type, code, word) };
    let header = if is_to_v4 { IPV6_SIZE } else { IPV4_SIZE_MIN };
    let is_plain = room.packet.transport == ETHERNET_SIZE + header
        && room.quoted.packet.transport == ETHERNET_SIZE + header + MESSAGE + header
        && !room.packet.is_fragment();
    // In neither family is type 0 an error.
    if message[0] == 0 || !is_plain {
        return Err(DropReason::IcmpUnsupported);
    }
    let made = if is_to_v4 { make_v4(frame, room, message) } else { make_v6(frame, room, message) };
    made.map_err(|_| DropReason::RewriteFailed)
}

/// What an ICMPv6 error says in ICMP, without its checksum; all zero when nothing.
#[inline(always)]
const fn message_v4(icmp_type: u8, code: u8, word: u32) -> [u8; 8] {
    let (icmp_type, code, mtu) = match (icmp_type, code) {
        // Prohibited; nobody listens; the host is not reached, for some other reason.
        (ICMPV6_UNREACHABLE, 1) => (ICMP_UNREACHABLE, 10, 0),
        (ICMPV6_UNREACHABLE, 4) => (ICMP_UNREACHABLE, 3, 0),
        (ICMPV6_UNREACHABLE, 0 | 2 | 3) => (ICMP_UNREACHABLE, 1, 0),
        (ICMPV6_TOO_BIG, _) => {
            let mtu = if word < MTU_MIN { MTU_MIN } else { word };
            (ICMP_UNREACHABLE, 4, mtu.saturating_sub(GROWTH))
        }
        (ICMPV6_TIME_EXCEEDED, _) => (ICMP_TIME_EXCEEDED, code, 0),
        // The protocol is not known there.
        (ICMPV6_PARAMETER_PROBLEM, 1) => (ICMP_UNREACHABLE, 2, 0),
        _ => (0, 0, 0),
    };
    let [high, low] = if mtu > u16::MAX as u32 { [0xff, 0xff] } else { (mtu as u16).to_be_bytes() };
    [icmp_type, code, 0, 0, 0, 0, high, low]
}

/// The other way round.
#[inline(always)]
const fn message_v6(icmp_type: u8, code: u8, word: u32) -> [u8; 8] {
    let (icmp_type, code, word) = match (icmp_type, code) {
        (ICMP_UNREACHABLE, 3) => (ICMPV6_UNREACHABLE, 4, 0),
        (ICMP_UNREACHABLE, 4) => {
            let mtu = (word & 0xffff).saturating_add(GROWTH);
            (ICMPV6_TOO_BIG, 0, if mtu < MTU_MIN { MTU_MIN } else { mtu })
        }
        // It stands in the next header.
        (ICMP_UNREACHABLE, 2) => (ICMPV6_PARAMETER_PROBLEM, 1, 6),
        (ICMP_UNREACHABLE, 0 | 1 | 5 | 6 | 7 | 8 | 11 | 12) => (ICMPV6_UNREACHABLE, 0, 0),
        (ICMP_UNREACHABLE, 9 | 10 | 13 | 15) => (ICMPV6_UNREACHABLE, 1, 0),
        (ICMP_TIME_EXCEEDED, _) => (ICMPV6_TIME_EXCEEDED, code, 0),
        _ => (0, 0, 0),
    };
    let [a, b, c, d] = word.to_be_bytes();
    [icmp_type, code, 0, 0, a, b, c, d]
}

/// A stack frame of its own.
#[inline(never)]
fn make_v4<F: Frame + Stack>(frame: &mut F, room: &mut Room, message: [u8; 8]) -> Result<(), Refused> {
    let gain = transport(frame, room)?;
    let Room { head, ipv6, quoted, step, errors, .. } = room;
    let Errors { v4, v6 } = errors;
    if !frame.read(ETHERNET_SIZE, v6) {
        return Err(Refused);
    }
    // All that a checksum covers is nothing together: so the rest is what makes up for these, which is their complement.
    let rest = add(!add(frame.sum(v6), gain_of_header(v6)), gain);
    frame.change_family(Family::V4)?;
    frame.make_room(-(GROWTH.cast_signed()))?;
    forget(frame, v4)?;
    let len = u16::from_be_bytes(ipv6.payload_len).wrapping_sub(GROWTH as u16);
    ipv6.payload_len = len.to_be_bytes();
    v4.header.become_of(ipv6, ICMP, &step.source, &step.destination);
    v4.quote.become_of(&quoted.ipv6, quoted.key.protocol, &step.destination, &step.source);
    v4.message = message;
    // An IPv4 header sums up to nothing, the quoted one too.
    [v4.message[2], v4.message[3]] = (!folded(add(frame.sum(&v4.message), rest))).to_ne_bytes();
    frame.correct_sum(add(frame.sum(v4), gain));
    head.ethernet.ethertype = ETHERTYPE_IPV4;
    frame.store(0, &head.ethernet)?;
    frame.store(ETHERNET_SIZE, v4)
}

/// A stack frame of its own.
#[inline(never)]
fn make_v6<F: Frame + Stack>(frame: &mut F, room: &mut Room, message: [u8; 8]) -> Result<(), Refused> {
    let gain = transport(frame, room)?;
    let Room { head, quoted, step, errors, .. } = room;
    let Errors { v4, v6 } = errors;
    if !frame.read(ETHERNET_SIZE, v4) {
        return Err(Refused);
    }
    let rest = add(!add(frame.sum(&v4.message), frame.sum(&v4.quote)), gain);
    frame.change_family(Family::V6)?;
    frame.make_room(GROWTH.cast_signed())?;
    forget(frame, v6)?;
    let len = u16::from_be_bytes(head.ipv4.total_len).wrapping_add(GROWTH as u16);
    head.ipv4.total_len = len.to_be_bytes();
    v6.header.become_of(&head.ipv4, ICMPV6, &step.source, &step.destination);
    v6.quote.become_of(&quoted.ipv4, quoted.key.protocol, &step.destination, &step.source);
    v6.message = message;
    let sum = add(add(frame.sum(v6), gain_of_header(v6)), rest);
    [v6.message[2], v6.message[3]] = (!folded(sum)).to_ne_bytes();
    frame.correct_sum(add(frame.sum(v6), gain));
    head.ethernet.ethertype = ETHERTYPE_IPV6;
    frame.store(0, &head.ethernet)?;
    frame.store(ETHERNET_SIZE, v6)
}

/// What the sum of all the headers gains when the first of them is made a pseudo-header (RFC 8200 section 8.1): version,
/// class, flow label and hop limit go, and the next header stands elsewhere.
#[inline(always)]
const fn gain_of_header(error: &ErrorV6) -> u32 {
    let Ipv6 { version_class_flow, next_header, hop_limit, .. } = error.header;
    add(!u32::from_ne_bytes(version_class_flow), difference([0, 0, next_header, hop_limit], [0, 0, 0, next_header]))
}

/// Takes what stands where the headers will be out of the kernel's sum over the packet.
#[inline(always)]
fn forget<F: Frame + Stack, E: Wire>(frame: &mut F, error: &mut E) -> Result<(), Refused> {
    if !frame.read(ETHERNET_SIZE, error) {
        return Err(Refused);
    }
    frame.correct_sum(!frame.sum(error));
    Ok(())
}

/// Writes the ports and the checksum of the quoted packet as its sender had them; returns what its sum gains.
#[inline(always)]
fn transport<F: Frame + Stack>(frame: &mut F, room: &Room) -> Result<u32, Refused> {
    let Room { step, quoted, .. } = room;
    let key = &quoted.key;
    let at = quoted.packet.transport;
    let (old, new) = (ports(key.destination_port, key.source_port), ports(step.destination_port, step.source_port));
    let moved = difference(old, new);
    frame.store(at, &new)?;
    if quoted.has_checksum == 0 {
        return Ok(moved);
    }
    let old = sum_of_both(frame, &key.source, &key.destination);
    let addresses = add(!old, sum_of_both(frame, &step.source, &step.destination));
    let checksum = updated(quoted.checksum, add(addresses, moved));
    frame.store(at + quoted.packet.kind().checksum(), &checksum)?;
    let [a, b] = quoted.checksum;
    let [c, d] = checksum;
    Ok(add(moved, difference([a, b, 0, 0], [c, d, 0, 0])))
}
