//! Which container answers at this address and port of the host, and how is a flow to it opened?

use crate::conntrack::{self, Target};
use crate::family;
use crate::frame::{Frame, Stack};
use crate::parse::Kind;
use crate::tables::{Room, Tables};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{Endpoint, EndpointKey, INTERNAL};
use netd_common::flow::{FlowKey, INSIDE, PUBLISHED, TO_ENDPOINT};
use netd_common::globals::{HAIRPIN_V4, HAIRPIN_V6, PROXY_V4};
use netd_common::publish::{AllowKey, Publish, PublishKey, SCTP, TCP, UDP};

/// The publish for a destination: an exact address before every address of the host.
///
/// Like the others here it has a stack frame of its own, so that the packets of known flows pay little for it.
#[inline(never)]
pub fn find<'t, T: Tables>(tables: &'t T, address: &Addr, port: u16, protocol: u8) -> Option<&'t Publish> {
    if !matches!(protocol, TCP | UDP | SCTP) {
        return None;
    }
    let any = if address.is_v4() { Addr::ANY_V4 } else { Addr::ANY_V6 };
    // In a packet it is no address; in a key it means every one.
    if *address == any {
        return None;
    }
    let mut key = PublishKey { address: *address, port, protocol, pad: 0 };
    if let Some(publish) = tables.publish(&key) {
        return Some(publish);
    }
    key.address = any;
    let publish = tables.publish(&key)?;
    // Last, since nearly nothing gets this far: an address that the host merely routes is not the host's.
    if address.is_loopback() || tables.is_local(address) { Some(publish) } else { None }
}

/// Opens the flow of a packet for a published port, as [`conntrack::open`] does. `room.opening` says who sent it: its
/// `network` and the way `back`. On the answerer's own network the source is replaced, so that the answer comes this way;
/// so is that of an IPv6 client of an IPv4 container.
///
/// # Errors
/// [`DropReason::NotAllowed`] when the port is not open to the client, [`DropReason::InternalNetwork`] when the container
/// is on an internal network, [`DropReason::EndpointGone`] when it is not there any more, [`DropReason::NoFlow`] for a
/// packet that cannot be the first, [`DropReason::UnsupportedProtocol`] for a port of SCTP that would change, for an
/// IPv4 client of an IPv6 container and for what [`family`] cannot exchange, and those of [`conntrack::open`].
#[inline(never)]
pub fn open<F: Frame + Stack, T: Tables>(
    frame: &F,
    tables: &T,
    publish: &Publish,
    room: &mut Room,
) -> Result<(), DropReason> {
    // First: who may not come in learns nothing else, and no state is made for them.
    if publish.allow != 0 && !tables.is_allowed(&AllowKey { list: publish.allow, address: room.key.source }) {
        return Err(DropReason::NotAllowed);
    }
    let packet = &room.packet;
    if packet.kind() == Kind::LaterFragment {
        return Err(DropReason::FragmentFirstMissing);
    }
    if packet.kind() == Kind::Tcp && packet.is_syn_ack_or_reset() {
        return Err(DropReason::NoFlow);
    }
    if packet.kind() == Kind::Sctp && room.key.destination_port != publish.port {
        return Err(DropReason::UnsupportedProtocol);
    }
    let endpoint = answerer(tables, publish)?;
    if endpoint.flags & INTERNAL != 0 && room.opening.network != publish.network {
        return Err(DropReason::InternalNetwork);
    }
    let is_exchangeable = family::is_possible(room);
    let Room { key, step, opening, .. } = room;
    step.source = source_seen(key, publish, opening.network);
    if step.source.is_none() || step.source == PROXY_V4 && !is_exchangeable {
        return Err(DropReason::UnsupportedProtocol);
    }
    step.source_port = key.source_port;
    step.destination = publish.address;
    step.destination_port = publish.port;
    step.target = Target { kind: TO_ENDPOINT, ifindex: endpoint.ifindex, endpoint: endpoint.endpoint };
    step.partner_side = INSIDE;
    opening.flags = PUBLISHED;
    opening.pool = 0;
    opening.owner = publish.endpoint;
    opening.owner_network = publish.network;
    conntrack::open(frame, tables, room)
}

/// Whom the container sees: the client itself, where the answer comes back this way by itself; none when it cannot be.
#[inline(always)]
fn source_seen(key: &FlowKey, publish: &Publish, network: u32) -> Addr {
    match (key.source.is_v4(), publish.address.is_v4()) {
        (true, true) if network == publish.network => HAIRPIN_V4,
        // The answer to a link-local address would stay on the container's own link.
        (false, false) if network == publish.network || key.source.is_link_local_v6() => HAIRPIN_V6,
        (false, true) => PROXY_V4,
        (true, false) => Addr::NONE,
        _ => key.source,
    }
}

#[inline(always)]
fn answerer<'t, T: Tables>(tables: &'t T, publish: &Publish) -> Result<&'t Endpoint, DropReason> {
    let key = EndpointKey { address: publish.address, network: publish.network };
    match tables.endpoint(&key) {
        Some(endpoint) if endpoint.endpoint == publish.endpoint => Ok(endpoint),
        Some(_) | None => Err(DropReason::EndpointGone),
    }
}
