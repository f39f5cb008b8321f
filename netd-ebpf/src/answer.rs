//! What does the gateway answer to a packet that cannot go on?
//!
//! An ICMP error, made of the packet itself and sent back. The kernel would make it only where the host forwards, which
//! netd does not ask for (and for IPv6 it forwards everywhere or nowhere, before Linux 6.17); it would make none for a
//! packet that may be fragmented, which nobody here can do. No limit on the rate is needed: the answer is smaller than
//! most packets and goes to the container that sent it, one for one.

use crate::frame::{Frame, Stack};
use crate::nat::{self, add, folded};
use crate::parse::ip::{DONT_FRAGMENT, IPV4_SIZE_MIN, IPV6_SIZE};
use crate::parse::transport::{ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE, ICMPV6_TIME_EXCEEDED, ICMPV6_TOO_BIG};
use crate::parse::{ETHERNET_SIZE, Family, Kind};
use crate::tables::Room;
use crate::verdict::{Verdict, Walk};
use netd_common::drop::DropReason;
use netd_common::endpoint::Port;
use netd_common::publish::{ICMP, ICMPV6};

/// Bytes of the packet that come back: all of its headers but for odd ones, and as many as a message with extensions has
/// to have (RFC 4884 section 4), filled up with zeros as it says there.
const QUOTE: u32 = 128;
const MESSAGE: u32 = 8;
/// The time to live of what a router sends itself (RFC 1700).
const TTL: u8 = 64;
/// "Internetwork control" (RFC 1812 section 5.3.2).
const TOS: u8 = 0xc0;
/// "Fragmentation needed" of [`ICMP_UNREACHABLE`].
const FRAGMENTATION_NEEDED: u8 = 4;

/// Room for what an answer is made of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    quote: [u8; QUOTE as usize],
}

impl Default for Answer {
    fn default() -> Self {
        Self { quote: [0; QUOTE as usize] }
    }
}

/// Why a packet cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    TimeExceeded,
    /// Larger than this many bytes.
    TooBig(u32),
}

/// Makes the packet, as it came out of the container, into the gateway's answer.
///
/// # Errors
/// [`DropReason::TimeExceeded`] or [`DropReason::TooBig`] for what is not answered: an ICMP error, and a fragment behind
/// the first (RFC 1122 section 3.2.2). [`DropReason::RewriteFailed`] when the kernel has no room.
#[inline(always)]
pub fn answer<F: Frame + Stack>(frame: &mut F, port: &Port, room: &mut Room, trouble: Trouble) -> Walk {
    let (is_too_big, mtu) = match trouble {
        Trouble::TimeExceeded => (false, 0),
        Trouble::TooBig(mtu) => (true, mtu),
    };
    let is_answered =
        !matches!(room.packet.kind(), Kind::IcmpError | Kind::Neighbour) && room.packet.fragment_offset == 0;
    if !is_answered {
        return Err(if is_too_big { DropReason::TooBig } else { DropReason::TimeExceeded });
    }
    if make(frame, port, room, is_too_big, mtu) {
        Ok(Verdict::Answer { ifindex: frame.ifindex() })
    } else {
        Err(DropReason::RewriteFailed)
    }
}

/// A stack frame of its own; says whether the kernel had room.
#[inline(never)]
fn make<F: Frame + Stack>(frame: &mut F, port: &Port, room: &mut Room, is_too_big: bool, mtu: u32) -> bool {
    let is_v6 = room.head.ethernet.family() == Family::V6;
    let header = if is_v6 { IPV6_SIZE } else { IPV4_SIZE_MIN };
    let message_at = ETHERNET_SIZE + header;
    if frame.resize(ETHERNET_SIZE + QUOTE).is_err()
        || frame.make_room((header + MESSAGE).cast_signed()).is_err()
        || !frame.read(message_at + MESSAGE, &mut room.answer.quote)
    {
        return false;
    }
    let Room { head, ipv6, key, answer, .. } = &mut *room;
    head.ethernet.address(&port.mac, &port.gateway_mac);
    let (icmp_type, code) = match (is_v6, is_too_big) {
        (false, true) => (ICMP_UNREACHABLE, FRAGMENTATION_NEEDED),
        (false, false) => (ICMP_TIME_EXCEEDED, 0),
        (true, true) => (ICMPV6_TOO_BIG, 0),
        (true, false) => (ICMPV6_TIME_EXCEEDED, 0),
    };
    let [a, b, c, d] = mtu.to_be_bytes();
    let mut sum = add(u32::from_ne_bytes([icmp_type, code, 0, 0]), u32::from_ne_bytes([a, b, c, d]));
    sum = add(sum, frame.sum(&answer.quote));
    let size = (MESSAGE + QUOTE) as u16;
    if is_v6 {
        ipv6.version_class_flow = [0x60, 0, 0, 0];
        ipv6.payload_len = size.to_be_bytes();
        ipv6.next_header = ICMPV6;
        ipv6.hop_limit = TTL;
        ipv6.destination = key.source;
        ipv6.source = port.gateway6;
        // The pseudo-header (RFC 8200 section 8.1).
        sum = add(sum, add(frame.sum(&ipv6.source), frame.sum(&ipv6.destination)));
        let [high, low] = size.to_be_bytes();
        sum = add(sum, add(u32::from_ne_bytes([0, 0, high, low]), u32::from_ne_bytes([0, 0, 0, ICMPV6])));
    } else {
        head.ipv4.version_ihl = 0x45;
        head.ipv4.tos = TOS;
        head.ipv4.total_len = (IPV4_SIZE_MIN as u16 + size).to_be_bytes();
        head.ipv4.id = [0, 0];
        head.ipv4.fragment = DONT_FRAGMENT.to_be_bytes();
        head.ipv4.ttl = TTL;
        head.ipv4.protocol = ICMP;
        head.ipv4.destination = key.source.octets_v4();
        head.ipv4.source = port.gateway4.octets_v4();
        head.ipv4.seal();
    }
    let [high, low] = (!folded(sum)).to_ne_bytes();
    let message = [icmp_type, code, high, low, a, b, c, d];
    let header = if is_v6 { frame.sum(ipv6) } else { 0 };
    frame.correct_sum(add(header, frame.sum(&message)));
    nat::store_headers(frame, room).is_ok() && frame.store(message_at, &message).is_ok()
}
