//! What becomes of an ICMP error about a translated packet?
//!
//! It quotes the packet as its sender's peer saw it, so the quote is translated back as well as the error's own header:
//! both by the flow that an answer to the quoted packet would find. A quote may be cut off behind the first eight bytes of
//! its transport header (RFC 792), which are the ports.

use crate::across;
use crate::conntrack;
use crate::family;
use crate::forward;
use crate::frame::{ChecksumOf, Frame, Refused, Stack};
use crate::nat::{add, difference, exchange_v6, gain_by_hop, ports, store_headers, updated};
use crate::parse::ip::{IPV4_SIZE_MIN, IPV6_SIZE, Ipv4, Ipv6};
use crate::parse::transport::{self, Start};
use crate::parse::{self, Family, Kind, Packet};
use crate::tables::{Room, Tables};
use crate::verdict::Walk;
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::flow::{FlowKey, TO_UPLINK};
use netd_common::publish::{ICMP, ICMPV6};

/// The packet that an error quotes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Quoted {
    /// The tuple of an answer to it.
    pub key: FlowKey,
    pub packet: Packet,
    pub ipv4: Ipv4,
    pub ipv6: Ipv6,
    start: Start,
    /// Whether the transport's checksum is in the quote, and is one.
    pub has_checksum: u32,
    pub checksum: [u8; 2],
    pad: [u8; 2],
}

/// Bytes of an ICMP error's own header.
const MESSAGE: u32 = 8;
const ICMP_CHECKSUM: u32 = 2;
const CHECKSUM_SIZE: u32 = 2;

/// Finds the flow that the error is about, and leaves what it says of an answer to the quoted packet in `room.step`. The
/// flow does not take it for a sign of life.
///
/// # Errors
/// [`DropReason::Malformed`] when the quote is none of a packet of the same family.
#[inline(always)]
pub fn find<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> Result<bool, DropReason> {
    match quoted(frame, room) {
        UNREADABLE => Err(DropReason::Malformed),
        NO_FLOW => Ok(false),
        _ => {
            let Room { quoted, step, .. } = room;
            Ok(conntrack::peek(tables, &quoted.key, step))
        }
    }
}

/// What [`quoted`] returns.
const READ: u32 = 0;
const UNREADABLE: u32 = 1;
/// Of a kind that no flow has.
const NO_FLOW: u32 = 2;

/// Reads the quote; a stack frame of its own.
#[inline(never)]
fn quoted<F: Frame + Stack>(frame: &F, room: &mut Room) -> u32 {
    let at = room.packet.transport + MESSAGE;
    // Where the message ends, behind which the frame may have padding.
    let end = room.packet.transport + room.packet.size;
    let Room { head, key: outer, quoted, .. } = room;
    let Quoted { key, packet, .. } = quoted;
    key.side = outer.side;
    key.pad = [0; 2];
    packet.fragment_offset = 0;
    packet.size = end.saturating_sub(at);
    if head.ethernet.family() == Family::V6 {
        if !frame.read(at, &mut quoted.ipv6) || quoted.ipv6.version_class_flow[0] >> 4 != 6 {
            return UNREADABLE;
        }
        key.source = quoted.ipv6.destination;
        key.destination = quoted.ipv6.source;
        // They would name an IPv4 flow.
        if key.source.is_v4() || key.destination.is_v4() {
            return UNREADABLE;
        }
        key.protocol = quoted.ipv6.next_header;
        packet.transport = at + IPV6_SIZE;
        match parse::beyond_extensions(frame, key.protocol, packet) {
            Ok(protocol) => key.protocol = protocol,
            Err(_) => return UNREADABLE,
        }
    } else {
        if !frame.read(at, &mut quoted.ipv4)
            || quoted.ipv4.version_ihl >> 4 != 4
            || quoted.ipv4.header_len() < IPV4_SIZE_MIN
        {
            return UNREADABLE;
        }
        key.source = Addr::v4(quoted.ipv4.destination);
        key.destination = Addr::v4(quoted.ipv4.source);
        key.protocol = quoted.ipv4.protocol;
        packet.transport = at + quoted.ipv4.header_len();
        packet.fragment_offset = quoted.ipv4.fragment().0;
    }
    if packet.is_later_fragment() {
        return NO_FLOW;
    }
    if packet.transport + Start::SIZE > end || !frame.read(packet.transport, &mut quoted.start) {
        return UNREADABLE;
    }
    let kind = transport::quoted(&quoted.start, key);
    packet.kind = kind as u8;
    // The answer's tuple.
    (key.source_port, key.destination_port) = (key.destination_port, key.source_port);
    // SCTP's checksum covers no address and no port that is exchanged.
    quoted.has_checksum = u32::from(
        !matches!(kind, Kind::Sctp)
            && packet.transport + kind.checksum() + CHECKSUM_SIZE <= end
            && frame.read(packet.transport + kind.checksum(), &mut quoted.checksum)
            && !(kind == Kind::Udp && quoted.checksum == [0, 0]),
    );
    if kind.is_translatable() { READ } else { NO_FLOW }
}

/// Translates the error whose flow [`find`] has found, and sends it where an answer would go.
///
/// # Errors
/// [`DropReason::EndpointGone`], [`DropReason::RewriteFailed`], and for a flow between the families those of
/// [`across::translate`].
#[inline(always)]
pub fn along<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, room: &mut Room) -> Walk {
    if !forward::address(tables, room) {
        return Err(DropReason::EndpointGone);
    }
    if family::changes(room) {
        across::translate(frame, room)?;
    } else if translate(frame, room).is_err() {
        return Err(DropReason::RewriteFailed);
    }
    Ok(forward::release(frame, room))
}

/// A stack frame of its own, since few packets come here.
#[inline(never)]
fn translate<F: Frame + Stack>(frame: &mut F, room: &mut Room) -> Result<(), Refused> {
    let message = translate_quote(frame, room)?;
    let checksum = room.packet.transport + ICMP_CHECKSUM;
    frame.update_checksum(checksum, message, ChecksumOf::Segment)?;
    let Room { head, ipv6, quoted, step, packet, .. } = &mut *room;
    // The answerer speaks for itself, or a router on the way does; from inside, no address may be seen but the host's.
    let is_v6 = head.ethernet.family() == Family::V6;
    let sender = if is_v6 { ipv6.source } else { Addr::v4(head.ipv4.source) };
    let source = if sender == quoted.key.source || step.target.kind == TO_UPLINK { step.source } else { sender };
    if is_v6 {
        let addresses = exchange_v6(frame, ipv6, &source, &step.destination);
        frame.correct_sum(add(addresses, gain_by_hop(ipv6, packet.ttl)));
        frame.update_checksum(checksum, addresses, ChecksumOf::PseudoHeader)?;
    } else {
        head.ipv4.exchange(&source, &step.destination);
    }
    store_headers(frame, room)
}

/// Writes the quoted packet as its sender sent it; returns what the message over it gains.
#[inline(always)]
fn translate_quote<F: Frame + Stack>(frame: &mut F, room: &mut Room) -> Result<u32, Refused> {
    let at = room.packet.transport + MESSAGE;
    let Room { head, step, quoted, .. } = room;
    let key = quoted.key;
    let Packet { transport, .. } = quoted.packet;
    let kind = quoted.packet.kind();
    let is_v6 = head.ethernet.family() == Family::V6;
    // An IPv4 header's own checksum makes up for its addresses.
    let (addresses, mut gain) = if is_v6 {
        let addresses = exchange_v6(frame, &mut quoted.ipv6, &step.destination, &step.source);
        frame.store(at, &quoted.ipv6)?;
        (addresses, addresses)
    } else {
        let addresses = quoted.ipv4.exchange(&step.destination, &step.source);
        frame.store(at, &quoted.ipv4)?;
        (addresses, 0)
    };
    let has_pseudo_header = key.protocol != ICMP;
    let mut covered = if has_pseudo_header { addresses } else { 0 };
    // The sender's port stands first in the quote.
    let old = ports(key.destination_port, key.source_port);
    let new = ports(step.destination_port, step.source_port);
    if old != new {
        let change = if matches!(key.protocol, ICMP | ICMPV6) {
            // One of both is the identifier, and the other 0.
            let (old, new) = (key.destination_port | key.source_port, step.destination_port | step.source_port);
            frame.store(transport + Kind::IDENTIFIER, &new.to_be_bytes())?;
            difference(ports(old, 0), ports(new, 0))
        } else {
            frame.store(transport, &new)?;
            difference(old, new)
        };
        covered = add(covered, change);
        gain = add(gain, change);
    }
    if quoted.has_checksum != 0 {
        let [a, b] = quoted.checksum;
        let [c, d] = updated(quoted.checksum, covered);
        frame.store(transport + kind.checksum(), &[c, d])?;
        gain = add(gain, difference([a, b, 0, 0], [c, d, 0, 0]));
    }
    Ok(gain)
}
