//! How does a packet of a known flow go on?

use crate::conntrack;
use crate::family;
use crate::fragment;
use crate::frame::{Frame, Stack};
use crate::nat;
use crate::tables::{Room, Tables};
use crate::verdict::{Verdict, Walk};
use netd_common::drop::DropReason;
use netd_common::flow::{TO_ENDPOINT, TO_UPLINK};

/// Translates the packet and sends it where its flow goes.
///
/// # Errors
/// [`DropReason::EndpointGone`] when the container is gone, [`DropReason::RewriteFailed`] when the packet cannot be
/// translated.
#[inline(always)]
pub fn along<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, room: &mut Room) -> Walk {
    if room.packet.is_fragment() && !room.packet.is_later_fragment() {
        fragment::lead(frame, tables, room);
    }
    if !address(tables, room) {
        // The interface index is another's now, or nobody's: the pair is of no use to anybody.
        conntrack::forget(tables, room);
        return Err(DropReason::EndpointGone);
    }
    let translated = if family::changes(room) { family::translate(frame, room) } else { nat::translate(frame, room) };
    if translated.is_err() {
        return Err(DropReason::RewriteFailed);
    }
    Ok(release(frame, room))
}

/// Writes the MAC addresses of the last hop to `room.head`, when the flow of `room.step` goes to a container; whether that
/// is still there.
#[inline(always)]
pub fn address<T: Tables>(tables: &T, room: &mut Room) -> bool {
    let Room { head, step, .. } = room;
    if step.target.kind != TO_ENDPOINT {
        return true;
    }
    if let Some(port) = tables.port(step.target.ifindex).filter(|port| port.endpoint == step.target.endpoint) {
        head.ethernet.address(&port.mac, &port.gateway_mac);
        return true;
    }
    false
}

/// Sends a translated packet where its flow goes.
#[inline(always)]
pub fn release<F: Frame>(frame: &mut F, room: &Room) -> Verdict {
    let ifindex = room.step.target.ifindex;
    match room.step.target.kind {
        TO_ENDPOINT => {
            frame.accept();
            Verdict::Deliver { ifindex }
        }
        TO_UPLINK => Verdict::Forward { ifindex },
        _ => Verdict::Pass,
    }
}
