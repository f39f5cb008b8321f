//! What does a container send: who is it, and where does it go?
//!
//! The destination MAC decides, as it does with a bridge and a router beside it: a peer's means switching, the gateway's
//! means routing. Only what is routed can need a flow, so peers on one network talk without any state.

use crate::answer::{self, Trouble};
use crate::conntrack::{self, Target};
use crate::family;
use crate::fdb;
use crate::forward;
use crate::fragment;
use crate::frame::{Frame, Route, Stack};
use crate::nat;
use crate::ndp;
use crate::neighbour;
use crate::parse::ip::Ipv6;
use crate::parse::{self, ETHERNET_SIZE, ETHERTYPE_ARP, Family, Kind};
use crate::published;
use crate::related;
use crate::source;
use crate::tables::{Room, Tables};
use crate::verdict::{Verdict, Walk};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{EndpointKey, INTERNAL, ISOLATED, Port, UNMASQUERADED};
use netd_common::flow::{FlowKey, INSIDE, OUTSIDE, TO_ENDPOINT, TO_UPLINK};
use netd_common::globals::{HAIRPIN_V4, HAIRPIN_V6, PROXY_V4};

#[inline(always)]
pub fn walk<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T) -> Walk {
    let port = tables.port(frame.ifindex()).ok_or(DropReason::UnknownEndpoint)?;
    if let Some(verdict) = fdb::switch_plain(frame, tables, port) {
        return Ok(verdict);
    }
    let room = tables.room().ok_or(DropReason::FlowTableFull)?;
    parse::head(frame, room)?;
    let head = &room.head;
    if head.ethernet.source != port.mac {
        return Err(DropReason::SpoofedSource);
    }
    if frame.has_vlan_tag() {
        return Err(DropReason::VlanTagged);
    }
    match head.ethernet.family() {
        Family::V4 => {
            let source = Addr::v4(head.ipv4.source);
            if source != port.ipv4 && !source::is_routed(tables, port, &source) {
                let destination = head.ethernet.destination;
                if source::is_dhcp(frame, destination, &head.ipv4) {
                    return fdb::switch(frame, tables, port, destination);
                }
                return Err(DropReason::SpoofedSource);
            }
        }
        Family::V6 => {
            if ndp::is_one(&room.ipv6)
                && let Some(verdict) = ndp::answer(frame, tables, port, room)?
            {
                return Ok(verdict);
            }
            let Ipv6 { source, destination, .. } = &room.ipv6;
            if !port.has_ipv6(source) && !source::is_routed(tables, port, source) {
                // Before it has an address, an interface joins its groups without one (RFC 3590).
                let is_joining = source.is_none() && destination.is_multicast_or_broadcast();
                return Err(if is_joining { DropReason::Multicast } else { DropReason::SpoofedSource });
            }
        }
        Family::Other if head.ethernet.ethertype == ETHERTYPE_ARP => return neighbour::arp(frame, tables, port),
        Family::Other => return fdb::switch(frame, tables, port, head.ethernet.destination),
    }
    let destination = room.head.ethernet.destination;
    if destination != port.gateway_mac {
        return fdb::switch(frame, tables, port, destination);
    }
    route(frame, tables, port, room)
}

/// An IP packet for the gateway.
#[inline(always)]
fn route<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, port: &Port, room: &mut Room) -> Walk {
    parse::packet(frame, room, INSIDE)?;
    if room.key.destination.is_loopback() {
        return Err(DropReason::LoopbackOnWire);
    }
    if room.key.destination.is_multicast_or_broadcast() {
        return Err(DropReason::Multicast);
    }
    // No router sends it on (RFC 4291 section 2.5.6), and the gateway has none itself.
    if room.key.destination.is_link_local_v6() {
        return Err(DropReason::NoRoute);
    }
    if room.packet.is_later_fragment() {
        fragment::follow(frame, tables, room)?;
    }
    if room.packet.kind() == Kind::IcmpError && related::find(frame, tables, room)? {
        if room.packet.ttl <= 1 {
            return Err(DropReason::TimeExceeded);
        }
        nat::decrement_ttl(room);
        return related::along(frame, tables, room);
    }
    let is_known = room.packet.kind().is_translatable() && conntrack::find(frame, tables, room);
    // The gateway is a hop, and what ends here opens nothing.
    if room.packet.ttl <= 1 {
        if !is_known && is_for_host(tables, &room.key) {
            return Ok(Verdict::Pass);
        }
        return answer::answer(frame, port, room, Trouble::TimeExceeded);
    }
    if !is_known {
        match first(frame, tables, port, room)? {
            First::Opened => {}
            First::ForHost => return Ok(Verdict::Pass),
            First::ForPeer => return deliver(frame, tables, port, room),
        }
    }
    if let Some(mtu) = exceeded_mtu(frame, room) {
        return answer::answer(frame, port, room, Trouble::TooBig(mtu));
    }
    nat::decrement_ttl(room);
    forward::along(frame, tables, room)
}

/// Whether a destination is the host itself, and no published port of it.
#[inline(always)]
fn is_for_host<T: Tables>(tables: &T, to: &FlowKey) -> bool {
    tables.is_local(&to.destination)
        && published::find(tables, &to.destination, to.destination_port, to.protocol).is_none()
}

/// The MTU that the packet has to fit, when it is too large for the uplink.
#[inline(always)]
fn exceeded_mtu<F: Frame>(frame: &F, room: &Room) -> Option<u32> {
    // Every link that carries IPv6 takes as much (RFC 8200 section 5), and nobody asks for such a packet's sake.
    if room.step.target.kind != TO_UPLINK || frame.len() <= ETHERNET_SIZE + MTU_MIN - family::GROWTH {
        return None;
    }
    let growth = if family::changes(room) { family::GROWTH } else { 0 };
    let headers = room.packet.transport - ETHERNET_SIZE + u32::from(room.packet.header_len);
    let mtu = frame.exceeds_mtu(room.step.target.ifindex, growth, headers)?;
    Some(mtu.saturating_sub(growth))
}

/// Bytes.
const MTU_MIN: u32 = 1280;

/// Where a packet goes that belongs to no flow.
enum First {
    /// It does now.
    Opened,
    ForHost,
    ForPeer,
}

/// The first packet of a flow, or one that needs none.
#[inline(always)]
fn first<F: Frame + Stack, T: Tables>(
    frame: &F,
    tables: &T,
    port: &Port,
    room: &mut Room,
) -> Result<First, DropReason> {
    let key = &room.key;
    if let Some(publish) = published::find(tables, &key.destination, key.destination_port, key.protocol) {
        if port.flags & INTERNAL != 0 && publish.network != port.network {
            return Err(DropReason::InternalNetwork);
        }
        room.opening.network = port.network;
        room.opening.back = Target { kind: TO_ENDPOINT, ifindex: frame.ifindex(), endpoint: port.endpoint };
        published::open(frame, tables, publish, room)?;
        return Ok(First::Opened);
    }
    if tables.is_local(&key.destination) {
        return Ok(First::ForHost);
    }
    if tables.endpoint(&EndpointKey { address: room.key.destination, network: port.network }).is_some() {
        return Ok(First::ForPeer);
    }
    leave(frame, tables, port, room)?;
    Ok(First::Opened)
}

/// A peer's address, sent by way of the gateway.
#[inline(always)]
fn deliver<F: Frame, T: Tables>(frame: &mut F, tables: &T, port: &Port, room: &mut Room) -> Walk {
    if port.flags & ISOLATED != 0 {
        return Err(DropReason::IccDisabled);
    }
    let key = EndpointKey { address: room.key.destination, network: port.network };
    let peer = tables.endpoint(&key).ok_or(DropReason::EndpointGone)?;
    nat::decrement_ttl(room);
    room.head.ethernet.address(&peer.mac, &port.gateway_mac);
    if room.head.ethernet.family() == Family::V6 {
        frame.correct_sum(nat::gain_by_hop(&room.ipv6, room.packet.ttl));
    }
    nat::store_headers(frame, room).map_err(|_| DropReason::RewriteFailed)?;
    frame.accept();
    Ok(Verdict::Deliver { ifindex: peer.ifindex })
}

/// Finds the uplink that leads to a destination which is neither a container of this network nor the host, and leaves it
/// in `room.way`.
#[inline(always)]
fn outside<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, port: &Port, room: &mut Room) -> Result<(), DropReason> {
    let Room { key, way, .. } = room;
    if port.flags & INTERNAL != 0 {
        return Err(DropReason::InternalNetwork);
    }
    match frame.route(key, way) {
        Route::Via => {}
        Route::Unreachable | Route::NotForwarded => return Err(DropReason::NoRoute),
    }
    if !tables.is_uplink(way.ifindex) {
        let is_container = tables.port(way.ifindex).is_some();
        return Err(if is_container { DropReason::OtherNetwork } else { DropReason::NotUplink });
    }
    Ok(())
}

/// Opens the flow of a packet to the outside, which takes the host's address. Without masquerading it keeps its own, but
/// is remembered all the same: only the answers to it may come in.
#[inline(never)]
fn leave<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, port: &Port, room: &mut Room) -> Result<(), DropReason> {
    if [HAIRPIN_V4, HAIRPIN_V6, PROXY_V4].contains(&room.key.destination) {
        // The answer to a flow that is forgotten: nobody outside has this address.
        return Err(DropReason::NoFlow);
    }
    if room.key.source.is_link_local_v6() {
        return Err(DropReason::NoRoute);
    }
    outside(frame, tables, port, room)?;
    let packet = &room.packet;
    match packet.kind() {
        Kind::Tcp if packet.is_syn_ack_or_reset() => return Err(DropReason::NoFlow),
        // Neither has a later fragment a header to open a flow with, when its own has been forgotten.
        Kind::EchoReply | Kind::IcmpError | Kind::Followed => return Err(DropReason::NoFlow),
        Kind::IcmpOther | Kind::Neighbour => return Err(DropReason::IcmpUnsupported),
        Kind::LaterFragment => return Err(DropReason::FragmentFirstMissing),
        Kind::Unknown => return Err(DropReason::UnsupportedProtocol),
        Kind::Tcp | Kind::Udp | Kind::Sctp | Kind::EchoRequest => {}
    }
    let Room { key, step, opening, way, .. } = room;
    let is_masqueraded = port.flags & UNMASQUERADED == 0;
    step.source = if is_masqueraded { way.source } else { key.source };
    if step.source.is_none() {
        return Err(DropReason::NoRoute);
    }
    step.source_port = key.source_port;
    step.destination = key.destination;
    step.destination_port = key.destination_port;
    step.target = Target { kind: TO_UPLINK, ifindex: way.ifindex, endpoint: 0 };
    step.partner_side = OUTSIDE;
    opening.flags = 0;
    opening.owner = port.endpoint;
    opening.owner_network = port.network;
    opening.pool = match (is_masqueraded, key.source.is_v4()) {
        (true, true) => u32::from(port.pool4),
        (true, false) => u32::from(port.pool6),
        (false, _) => 0,
    };
    opening.back = Target { kind: TO_ENDPOINT, ifindex: frame.ifindex(), endpoint: port.endpoint };
    conntrack::open(frame, tables, room)
}
