//! What does a container send: who is it, and where does it go?
//!
//! The destination MAC decides, as it does with a bridge and a router beside it: a peer's means switching, the gateway's
//! means routing. Only what is routed can need a flow, so peers on one network talk without any state.

use crate::conntrack::{self, Target};
use crate::fdb;
use crate::forward;
use crate::frame::{Frame, Route, Stack};
use crate::nat;
use crate::neighbour;
use crate::parse::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Kind};
use crate::published;
use crate::tables::{Room, Tables};
use crate::verdict::{Verdict, Walk};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{EndpointKey, INTERNAL, ISOLATED, Port, UNMASQUERADED};
use netd_common::flow::{FlowKey, INSIDE, OUTSIDE, TO_ENDPOINT, TO_UPLINK};
use netd_common::globals::HAIRPIN_V4;

#[inline(always)]
pub fn walk<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T) -> Walk {
    let port = tables.port(frame.ifindex()).ok_or(DropReason::UnknownEndpoint)?;
    let room = tables.room().ok_or(DropReason::FlowTableFull)?;
    parse::head(frame, &mut room.head)?;
    let head = &room.head;
    if head.ethernet.source != port.mac {
        return Err(DropReason::SpoofedSource);
    }
    if frame.has_vlan_tag() {
        return Err(DropReason::VlanTagged);
    }
    match head.ethernet.ethertype {
        ETHERTYPE_ARP => return neighbour::arp(frame, tables, port),
        ETHERTYPE_IPV4 => {
            if Addr::v4(head.ipv4.source) != port.ipv4 {
                return Err(DropReason::SpoofedSource);
            }
        }
        ETHERTYPE_IPV6 => return Err(DropReason::Ipv6Unsupported),
        _ => return fdb::switch(frame, tables, port, head.ethernet.destination),
    }
    if head.ethernet.destination != port.gateway_mac {
        return fdb::switch(frame, tables, port, head.ethernet.destination);
    }
    route(frame, tables, port, room)
}

/// An IPv4 packet for the gateway.
#[inline(always)]
fn route<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, port: &Port, room: &mut Room) -> Walk {
    parse::transport(frame, &room.head.ipv4, INSIDE, &mut room.key, &mut room.packet)?;
    if room.key.destination.is_loopback() {
        return Err(DropReason::LoopbackOnWire);
    }
    if room.key.destination.is_multicast_or_broadcast() {
        return Err(DropReason::Multicast);
    }
    // The gateway is a hop. The stack makes the time-exceeded error, and delivers what is for the host all the same.
    if room.head.ipv4.ttl <= 1 {
        return Ok(Verdict::Pass);
    }
    if !(room.packet.kind().is_translatable() && conntrack::find(frame, tables, room)) {
        match first(frame, tables, port, room)? {
            First::Opened => {}
            First::ForHost => return Ok(Verdict::Pass),
            First::ForPeer => return deliver(frame, tables, port, room),
        }
    }
    nat::decrement_ttl(&mut room.head);
    forward::along(frame, tables, room)
}

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
    let Room { head, key: to, .. } = room;
    if port.flags & ISOLATED != 0 {
        return Err(DropReason::IccDisabled);
    }
    let key = EndpointKey { address: to.destination, network: port.network };
    let peer = tables.endpoint(&key).ok_or(DropReason::EndpointGone)?;
    nat::decrement_ttl(head);
    head.ethernet.destination = peer.mac;
    head.ethernet.source = port.gateway_mac;
    frame.store(0, head).map_err(|_| DropReason::RewriteFailed)?;
    frame.accept();
    Ok(Verdict::Deliver { ifindex: peer.ifindex })
}

struct Uplink {
    ifindex: u32,
    /// The host's address there.
    address: Addr,
}

/// The uplink that leads to a destination which is neither a container of this network nor the host.
#[inline(always)]
fn outside<F: Frame + Stack, T: Tables>(
    frame: &F,
    tables: &T,
    port: &Port,
    to: &FlowKey,
) -> Result<Uplink, DropReason> {
    if port.flags & INTERNAL != 0 {
        return Err(DropReason::InternalNetwork);
    }
    let (ifindex, address) = match frame.route(to.source, to.destination, to.protocol) {
        Route::Via { ifindex, source } => (ifindex, source),
        Route::Unreachable | Route::NotForwarded => return Err(DropReason::NoRoute),
    };
    if !tables.is_uplink(ifindex) {
        let is_container = tables.port(ifindex).is_some();
        return Err(if is_container { DropReason::OtherNetwork } else { DropReason::NotUplink });
    }
    Ok(Uplink { ifindex, address })
}

/// Opens the flow of a packet to the outside, which takes the host's address. Without masquerading it keeps its own, but
/// is remembered all the same: only the answers to it may come in.
#[inline(never)]
fn leave<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, port: &Port, room: &mut Room) -> Result<(), DropReason> {
    if room.key.destination == HAIRPIN_V4 {
        // The answer to a flow that is forgotten: nobody outside has this address.
        return Err(DropReason::NoFlow);
    }
    let uplink = outside(frame, tables, port, &room.key)?;
    let packet = &room.packet;
    if packet.is_fragment() {
        return Err(DropReason::Fragment);
    }
    match packet.kind() {
        Kind::Tcp if packet.is_syn_ack_or_reset() => return Err(DropReason::NoFlow),
        Kind::EchoReply => return Err(DropReason::NoFlow),
        Kind::IcmpOther => return Err(DropReason::IcmpUnsupported),
        Kind::Unknown | Kind::LaterFragment => return Err(DropReason::UnsupportedProtocol),
        Kind::Tcp | Kind::Udp | Kind::EchoRequest => {}
    }
    let Room { key, step, opening, .. } = room;
    step.source = if port.flags & UNMASQUERADED != 0 { key.source } else { uplink.address };
    if step.source.is_none() {
        return Err(DropReason::NoRoute);
    }
    step.source_port = key.source_port;
    step.destination = key.destination;
    step.destination_port = key.destination_port;
    step.target = Target { kind: TO_UPLINK, ifindex: uplink.ifindex, endpoint: 0 };
    step.partner_side = OUTSIDE;
    opening.flags = 0;
    opening.owner = port.endpoint;
    opening.owner_network = port.network;
    opening.back = Target { kind: TO_ENDPOINT, ifindex: frame.ifindex(), endpoint: port.endpoint };
    conntrack::open(frame, tables, room)
}
