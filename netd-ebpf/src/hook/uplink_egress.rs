//! Does what the host itself sends alias a container's flow?
//!
//! A container's flow may hold a tuple that a socket of the host picks later. Its first packet shows it here, and gets a
//! flow of its own with another source port, so that neither loses an answer to the other.

use crate::conntrack::{self, Target};
use crate::forward;
use crate::frame::{Frame, Stack};
use crate::parse::{self, Family, Kind};
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
    if parse::head(frame, room).is_err() || room.head.ethernet.family() == Family::Other {
        return Ok(Verdict::Pass);
    }
    if parse::packet(frame, room, HOST).is_err() || room.packet.is_fragment() || !may_alias(room.packet.kind()) {
        return Ok(Verdict::Pass);
    }
    if !conntrack::find(frame, tables, room) && !opens(frame, tables, room)? {
        return Ok(Verdict::Pass);
    }
    forward::along(frame, tables, room)
}

/// Whether its source port could be exchanged.
#[inline(always)]
const fn may_alias(kind: Kind) -> bool {
    matches!(kind, Kind::Tcp | Kind::Udp | Kind::EchoRequest | Kind::EchoReply)
}

/// Whether a packet of no known flow has the tuple of a container's, and so gets a flow with another port. It has a stack
/// frame of its own, so that the host's other packets pay little for it.
#[inline(never)]
fn opens<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> Result<bool, DropReason> {
    let Room { key, step, opening, entry_key: answer, .. } = room;
    key.write_reversed(OUTSIDE, answer);
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
    opening.pool = 0;
    opening.back = stack;
    conntrack::open(frame, tables, room)?;
    Ok(true)
}
