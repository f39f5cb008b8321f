//! Who answers "who has this IPv6 address"?
//!
//! As with ARP ([`crate::neighbour`]): the program, for the gateway and for every live endpoint of the asker's network
//! (RFC 4861). A container learns its addresses and routes from netd, so that no router has to advertise anything, and one
//! that plays the router is not heard.

use crate::frame::{Frame, Stack, Wire};
use crate::nat::{self, add, folded};
use crate::parse::ETHERNET_SIZE;
use crate::parse::ip::{IPV6_SIZE, Ipv6};
use crate::parse::transport::{ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_NEIGHBOUR_SOLICITATION};
use crate::parse::transport::{ICMPV6_REDIRECT, ICMPV6_ROUTER_SOLICITATION};
use crate::tables::{Room, Tables};
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{EndpointKey, Port};
use netd_common::publish::ICMPV6;

/// No router has touched it (RFC 4861 section 7.1.1).
const HOP_LIMIT: u8 = 255;
/// Flags of an advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// The option with the answerer's MAC address.
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
/// All nodes of the link, and the MAC address of that group (RFC 2464 section 7).
const ALL_NODES: Addr = Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// A neighbour solicitation or advertisement up to its options.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Message {
    pub icmp_type: u8,
    pub code: u8,
    pub checksum: [u8; 2],
    /// Flags in an advertisement.
    pub flags: [u8; 4],
    pub target: Addr,
}

/// An advertisement with its only option.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Advertisement {
    pub message: Message,
    pub option: u8,
    /// In units of eight bytes.
    pub option_len: u8,
    pub mac: [u8; 6],
}

// SAFETY: made of byte arrays.
unsafe impl Wire for Message {}
// SAFETY: as above.
unsafe impl Wire for Advertisement {}

/// Whether a packet may be one of neighbour discovery: what is not is found out by [`answer`].
#[inline(always)]
pub const fn is_one(ipv6: &Ipv6) -> bool {
    ipv6.next_header == ICMPV6 && ipv6.hop_limit == HOP_LIMIT
}

/// What [`advertise`] returns.
const ADVERTISED: u32 = 0;
const NOT_NDP: u32 = 1;
const MALFORMED: u32 = 2;
const SPOOFED: u32 = 3;
const UNANSWERED: u32 = 4;
const REFUSED: u32 = 5;

/// Answers a neighbour solicitation, with the packet itself as the answer; none for a packet of another kind.
///
/// # Errors
/// [`DropReason::SpoofedSource`], [`DropReason::Malformed`], and [`DropReason::NdpUnanswered`] for an address that nobody
/// has and for other messages.
#[inline(always)]
pub fn answer<F: Frame + Stack, T: Tables>(
    frame: &mut F,
    tables: &T,
    port: &Port,
    room: &mut Room,
) -> Result<Option<Verdict>, DropReason> {
    match advertise(frame, tables, port, room) {
        ADVERTISED => Ok(Some(Verdict::Answer { ifindex: frame.ifindex() })),
        NOT_NDP => Ok(None),
        MALFORMED => Err(DropReason::Malformed),
        SPOOFED => Err(DropReason::SpoofedSource),
        UNANSWERED => Err(DropReason::NdpUnanswered),
        _ => Err(DropReason::RewriteFailed),
    }
}

/// A stack frame of its own, since few packets come here.
#[inline(never)]
fn advertise<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, port: &Port, room: &mut Room) -> u32 {
    let Room { head, ipv6, advertisement, way, .. } = &mut *room;
    let message = &mut advertisement.message;
    let at = ETHERNET_SIZE + IPV6_SIZE;
    let is_whole = frame.read(at, message);
    if !is_whole {
        let Some([icmp_type]) = frame.load::<[u8; 1]>(at) else { return MALFORMED };
        message.icmp_type = icmp_type;
    }
    if !matches!(message.icmp_type, ICMPV6_ROUTER_SOLICITATION..=ICMPV6_REDIRECT) {
        return NOT_NDP;
    }
    // An unspecified source asks whether its own address is free (RFC 4862 section 5.4).
    let asker = ipv6.source;
    let is_probe = asker.is_none();
    if !is_probe && !port.has_ipv6(&asker) {
        return SPOOFED;
    }
    if message.icmp_type != ICMPV6_NEIGHBOUR_SOLICITATION {
        return UNANSWERED;
    }
    if !is_whole || message.code != 0 {
        return MALFORMED;
    }
    way.source = message.target;
    let mut flags = OVERRIDE;
    let mac = if way.source == port.gateway6 && !way.source.is_none() {
        flags |= ROUTER;
        port.gateway_mac
    } else if way.source.is_v4() || port.has_ipv6(&way.source) {
        // Its own: a probe, which silence answers. In the map an IPv4 address is a v4-mapped one, which nobody has.
        return UNANSWERED;
    } else {
        let key = EndpointKey { address: way.source, network: port.network };
        match tables.endpoint(&key) {
            Some(endpoint) => endpoint.mac,
            None => return UNANSWERED,
        }
    };
    // The whole answer's room as it is: its options were not read.
    let size = size_of::<Advertisement>() as u16;
    if frame.resize(at + u32::from(size)).is_err() || !frame.read(at, advertisement) {
        return REFUSED;
    }
    let old = add(frame.sum(ipv6), frame.sum(advertisement));
    let message = &mut advertisement.message;
    head.ethernet.source = mac;
    if is_probe {
        head.ethernet.destination = ALL_NODES_MAC;
        ipv6.destination = ALL_NODES;
    } else {
        flags |= SOLICITED;
        head.ethernet.destination = port.mac;
        ipv6.destination = ipv6.source;
    }
    ipv6.source = message.target;
    ipv6.payload_len = size.to_be_bytes();
    message.icmp_type = ICMPV6_NEIGHBOUR_ADVERTISEMENT;
    message.flags = [flags, 0, 0, 0];
    message.checksum = [0; 2];
    advertisement.option = TARGET_LINK_LAYER_ADDRESS;
    advertisement.option_len = 1;
    advertisement.mac = mac;
    // The pseudo-header (RFC 8200 section 8.1), and the message.
    let [high, low] = size.to_be_bytes();
    let mut sum = add(u32::from_ne_bytes([0, 0, high, low]), u32::from_ne_bytes([0, 0, 0, ICMPV6]));
    sum = add(sum, add(frame.sum(&ipv6.source), frame.sum(&ipv6.destination)));
    sum = add(sum, frame.sum(advertisement));
    advertisement.message.checksum = (!folded(sum)).to_ne_bytes();
    frame.correct_sum(add(!old, add(frame.sum(ipv6), frame.sum(advertisement))));
    if nat::store_headers(frame, room).is_ok() && frame.store(at, &room.advertisement).is_ok() {
        ADVERTISED
    } else {
        REFUSED
    }
}
