//! Does what the host itself sends alias a container's flow?
//!
//! A container's flow may hold a tuple that a socket of the host picks later. Its first packet shows it here, and gets a
//! flow of its own with another source port, so that neither loses an answer to the other.

use crate::conntrack::{self, Target};
use crate::forward;
use crate::frame::{Frame, Stack};
use crate::parse::{self, ETHERTYPE_IPV4};
use crate::tables::{Room, Tables};
use crate::verdict::{Verdict, Walk};
use netd_common::drop::DropReason;
use netd_common::flow::{HOST, OUTSIDE, TO_STACK};

#[inline(always)]
pub fn walk<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T) -> Walk {
    // What the other programs redirected has been translated, and what the host forwards is not the host's.
    if !frame.is_from_host() || frame.has_vlan_tag() {
        return Ok(Verdict::Pass);
    }
    let room = tables.room().ok_or(DropReason::FlowTableFull)?;
    if parse::head(frame, &mut room.head).is_err() || room.head.ethernet.ethertype != ETHERTYPE_IPV4 {
        return Ok(Verdict::Pass);
    }
    let parsed = parse::transport(frame, &room.head.ipv4, HOST, &mut room.key, &mut room.packet);
    if parsed.is_err() || !room.packet.kind().is_translatable() || room.packet.is_fragment() {
        return Ok(Verdict::Pass);
    }
    if !conntrack::find(frame, tables, room) && !opens(frame, tables, room)? {
        return Ok(Verdict::Pass);
    }
    forward::along(frame, tables, room)
}

/// Whether a packet of no known flow has the tuple of a container's, and so gets a flow with another port. It has a stack
/// frame of its own, so that the host's other packets pay little for it.
#[inline(never)]
fn opens<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> Result<bool, DropReason> {
    let Room { key, step, opening, entry_key: answer, .. } = room;
    *answer = key.reversed(OUTSIDE);
    if tables.with_flow(answer, |_| ()).is_none() {
        return Ok(false);
    }
    let stack = Target { kind: TO_STACK, ifindex: 0, endpoint: 0 };
    step.source = key.source;
    step.source_port = key.source_port;
    step.destination = key.destination;
    step.destination_port = key.destination_port;
    step.target = stack;
    step.partner_side = OUTSIDE;
    opening.flags = 0;
    opening.owner = 0;
    opening.owner_network = 0;
    opening.back = stack;
    conntrack::open(frame, tables, room)?;
    Ok(true)
}
