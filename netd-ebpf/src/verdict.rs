//! What becomes of a packet, and who counts it?

use crate::frame::{Frame, Stack};
use crate::parse::{self, Family};
use crate::tables::Tables;
use netd_common::drop::{Counter, DropKey, DropReason, Hook, Outcome};
use netd_common::event::Kind;
use netd_common::flow::{FlowKey, OUTSIDE};

/// The end of a packet's walk through a hook.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the next program, and then to the host's stack or out of the device.
    Pass,
    /// As [`Self::Pass`], with a copy kept for the first fragment of its datagram, which may be a container's.
    Keep,
    /// Into the container behind this host-side interface.
    Deliver {
        ifindex: u32,
    },
    /// Out of this uplink; the kernel's neighbour table knows the next hop.
    Forward {
        ifindex: u32,
    },
    /// Back to where it came from: the packet is now the answer.
    Answer {
        ifindex: u32,
    },
    /// Copies of it went on, and nothing is left of it.
    Spent,
    Drop(DropReason),
}

/// A story in progress: `?` ends it with a drop.
pub type Walk = Result<Verdict, DropReason>;

/// Ends every walk: counts the packet once, notes drops, and hands out the verdict.
#[inline(always)]
pub fn finish<F: Frame + Stack, T: Tables>(hook: Hook, walk: Walk, frame: &F, tables: &T) -> Verdict {
    let verdict = match walk {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    };
    let outcome = match verdict {
        Verdict::Pass => Outcome::Passed,
        Verdict::Keep => Outcome::Kept,
        Verdict::Deliver { .. } | Verdict::Forward { .. } | Verdict::Spent => Outcome::Redirected,
        Verdict::Answer { .. } => Outcome::Answered,
        Verdict::Drop(reason) => {
            note(hook, reason, frame, tables);
            Outcome::Dropped(reason)
        }
    };
    tables.count(hook, outcome, Counter { packets: 1, bytes: u64::from(frame.len()) });
    verdict
}

/// Counts a drop for the container that sent the packet, and tells the agent of it, now and then. The packet is parsed
/// again, so that only drops pay for it; a stack frame of its own, so that the walk has room.
#[inline(never)]
fn note<F: Frame + Stack, T: Tables>(hook: Hook, reason: DropReason, frame: &F, tables: &T) {
    if hook == Hook::ContainerEgress
        && let Some(port) = tables.port(frame.ifindex())
    {
        let key = DropKey { endpoint: port.endpoint, reason: reason as u32 };
        tables.count_drop(&key, Counter { packets: 1, bytes: u64::from(frame.len()) });
    }
    let now_ns = frame.now_ns();
    if !tables.may_sample(reason, now_ns) {
        return;
    }
    let Some(room) = tables.room() else { return };
    // What could not be read is zero.
    room.key = FlowKey::default();
    if parse::head(frame, room).is_ok() && room.head.ethernet.family() != Family::Other {
        let _unread = parse::packet(frame, room, OUTSIDE);
    }
    let key = &room.key;
    tables.send(|event| {
        event.time_ns = now_ns;
        event.ifindex = frame.ifindex();
        event.kind = Kind::Dropped as u8;
        event.hook = hook as u8;
        event.reason = reason as u8;
        event.source = key.source;
        event.destination = key.destination;
        event.source_port = key.source_port;
        event.destination_port = key.destination_port;
        event.protocol = key.protocol;
    });
}
