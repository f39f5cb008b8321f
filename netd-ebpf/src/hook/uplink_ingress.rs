//! What arrives from the outside: an answer, a published port, or not ours?
//!
//! What is not ours passes untouched, malformed or not: the host's stack is its judge. Time to live is not taken here:
//! the host's address is where these packets were sent, so no hop lies behind it.

use crate::conntrack::{self, Target};
use crate::forward;
use crate::fragment;
use crate::frame::{Frame, Route, Stack};
use crate::held;
use crate::parse::{self, Family, Kind, Packet};
use crate::published;
use crate::related;
use crate::tables::{Room, Tables};
use crate::verdict::{Verdict, Walk};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::flow::{FlowKey, OUTSIDE, TO_UPLINK};

#[inline(always)]
pub fn walk<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T) -> Walk {
    if !frame.is_for_host() || frame.has_vlan_tag() {
        return Ok(Verdict::Pass);
    }
    let room = tables.room().ok_or(DropReason::FlowTableFull)?;
    if parse::head(frame, room).is_err() || room.head.ethernet.family() == Family::Other {
        return Ok(Verdict::Pass);
    }
    if parse::packet(frame, room, OUTSIDE).is_err() {
        return Ok(Verdict::Pass);
    }
    if room.key.destination.is_loopback() {
        return Err(DropReason::LoopbackOnWire);
    }
    if room.packet.is_later_fragment() {
        fragment::follow(frame, tables, room)?;
    }
    // The host judges a quote that cannot be read.
    if room.packet.kind() == Kind::IcmpError && related::find(frame, tables, room) == Ok(true) {
        return related::along(frame, tables, room);
    }
    let is_first = room.packet.is_fragment() && !room.packet.is_later_fragment();
    let is_known = room.packet.kind().is_translatable() && conntrack::find(frame, tables, room);
    if !is_known && let Some(verdict) = open(frame, tables, room)? {
        if is_first {
            held::disown(frame, tables, room);
        }
        return Ok(verdict);
    }
    let kept = if is_first { held::count(frame, tables, room) } else { 0 };
    let verdict = forward::along(frame, tables, room)?;
    if kept != 0
        && let Verdict::Deliver { ifindex } = verdict
    {
        held::release(frame, tables, room, ifindex, kept);
        return Ok(Verdict::Spent);
    }
    Ok(verdict)
}

/// Opens the flow of a packet of no known flow that is for a published port; the end of the walk for others.
#[inline(always)]
fn open<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> Result<Option<Verdict>, DropReason> {
    if !room.packet.kind().is_translatable() {
        other(frame, tables, room)?;
        let may_be_ours = room.packet.kind() == Kind::LaterFragment && tables.is_local(&room.key.destination);
        let is_kept = may_be_ours && held::keep(frame, tables, room);
        return Ok(Some(if is_kept { Verdict::Keep } else { Verdict::Pass }));
    }
    let key = &room.key;
    let Some(publish) = published::find(tables, &key.destination, key.destination_port, key.protocol) else {
        other(frame, tables, room)?;
        return Ok(Some(Verdict::Pass));
    };
    if is_for_socket(frame, &room.packet, key) {
        return Ok(Some(Verdict::Pass));
    }
    // The stack would not take it either.
    if is_martian(tables, &key.source) {
        return Err(DropReason::SpoofedSource);
    }
    room.opening.network = 0;
    room.opening.back = Target { kind: TO_UPLINK, ifindex: frame.ifindex(), endpoint: 0 };
    published::open(frame, tables, publish, room)?;
    Ok(None)
}

/// Whether a packet for a published port is the answer to a socket of the host that happens to have that port: it was
/// opened before the port was published, or got it without a bind. A plain SYN cannot be an answer.
#[inline(always)]
fn is_for_socket<F: Stack>(frame: &F, packet: &Packet, key: &FlowKey) -> bool {
    match packet.kind() {
        Kind::Tcp => !packet.is_syn() && (packet.is_syn_ack_or_reset() || frame.has_socket(key)),
        Kind::Udp => frame.has_socket(key),
        _ => false,
    }
}

/// Whether nobody outside has this address (RFC 1812 section 5.3.7), as far as it is the same everywhere: the host's own,
/// and those that are no host's.
#[inline(never)]
fn is_martian<T: Tables>(tables: &T, source: &Addr) -> bool {
    is_nobodys(source) || tables.is_local(source)
}

#[inline(always)]
fn is_nobodys(source: &Addr) -> bool {
    *source == Addr::ANY_V4 || source.is_none() || source.is_loopback() || source.is_multicast_or_broadcast()
}

/// Not ours, unless it would be routed straight into a container: only published ports lead there.
#[inline(never)]
fn other<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> Result<(), DropReason> {
    let Room { key, way, .. } = room;
    if key.destination.is_multicast_or_broadcast() || tables.is_local(&key.destination) {
        return Ok(());
    }
    // The stack routes none of these.
    if is_nobodys(&key.source) || key.source.is_link_local_v6() {
        return Ok(());
    }
    match frame.route(key, way) {
        Route::Via if tables.port(way.ifindex).is_some() => Err(DropReason::NotPublished),
        Route::Via | Route::Unreachable | Route::NotForwarded => Ok(()),
    }
}
