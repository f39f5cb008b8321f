//! How does a packet of a known flow go on?

use crate::conntrack;
use crate::frame::Frame;
use crate::nat;
use crate::parse::Head;
use crate::tables::{Room, Tables};
use crate::verdict::{Verdict, Walk};
use netd_common::drop::DropReason;
use netd_common::endpoint::Port;
use netd_common::flow::{TO_ENDPOINT, TO_UPLINK};

/// Translates the packet and sends it where its flow goes.
#[inline(always)]
pub fn along<F: Frame, T: Tables>(frame: &mut F, tables: &T, room: &mut Room) -> Walk {
    if room.packet.is_fragment() {
        return Err(DropReason::Fragment);
    }
    let Room { head, key, step, .. } = room;
    let verdict = match step.target.kind {
        TO_ENDPOINT => {
            let port = tables.port(step.target.ifindex).filter(|port| port.endpoint == step.target.endpoint);
            let Some(port) = port else {
                // The interface index is another's now, or nobody's: the pair is of no use to anybody.
                conntrack::forget(tables, key, step);
                return Err(DropReason::EndpointGone);
            };
            address_to(head, port);
            Verdict::Deliver { ifindex: step.target.ifindex }
        }
        TO_UPLINK => Verdict::Forward { ifindex: step.target.ifindex },
        _ => Verdict::Pass,
    };
    nat::translate(frame, room).map_err(|_| DropReason::RewriteFailed)?;
    if matches!(verdict, Verdict::Deliver { .. }) {
        frame.accept();
    }
    Ok(verdict)
}

/// Gives a routed packet the MAC addresses of its last hop.
#[inline(always)]
pub fn address_to(head: &mut Head, port: &Port) {
    head.ethernet.destination = port.mac;
    head.ethernet.source = port.gateway_mac;
}
