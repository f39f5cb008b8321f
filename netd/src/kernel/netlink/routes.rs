//! How are routes and their neighbours made, kept and read?

use super::connection::{Connection, Existing};
use super::links;
use super::message::{self, PROTOCOL, RouteEntry};
use crate::reconcile::target::{LinkName, Route};
use ipnetwork::IpNetwork;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

pub(super) const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// The metric of an IPv6 route that was made with none (`IP6_RT_PRIO_USER`). IPv4 has 0.
const METRIC_DEFAULT_V6: u32 = 1024;

/// Where a route without a metric stands.
pub(super) const fn metric_default(is_ipv4: bool) -> u32 {
    if is_ipv4 { 0 } else { METRIC_DEFAULT_V6 }
}

pub(super) const fn protocol() -> RouteProtocol {
    RouteProtocol::Other(PROTOCOL)
}

/// Makes the route be so, with its neighbour. A route of the same prefix that is not netd's is left alone, and is an
/// error.
pub(super) async fn set(host: &Connection, prefix: IpNetwork, route: &Route) -> io::Result<()> {
    match route {
        Route::Unreachable => {
            let message = builder(prefix)?.kind(RouteType::Unreachable).build();
            replace(host, prefix, message).await
        }
        Route::Endpoint { link, source, mac } => {
            let index = links::device(host, link).await?.ok_or(Errno::ENODEV)?.index;
            let message = builder(prefix)?
                .scope(RouteScope::Link)
                .output_interface(index)
                .pref_source(*source)
                .map_err(io::Error::other)?
                .build();
            replace(host, prefix, message).await?;
            let neighbour = neighbour_message(index, prefix.ip(), Some(*mac));
            host.create(RouteNetlinkMessage::NewNeighbour(neighbour), Existing::Replace).await
        }
    }
}

/// Removes netd's route to `prefix` and its neighbour. No error when it is gone already.
pub(super) async fn delete(host: &Connection, prefix: IpNetwork) -> io::Result<()> {
    for route in ours_at(host, prefix).await? {
        let mut message = builder(prefix)?.kind(route.kind);
        // The kernel matches the kind and scope too; 255 (nowhere) stands for any scope.
        message = message.scope(RouteScope::NoWhere).priority(route.metric);
        ignore(host.change(RouteNetlinkMessage::DelRoute(message.build())).await, libc::ESRCH)?;
        // IPv6 routes that lead nowhere name the loopback device.
        for index in route.devices.into_iter().filter(|_| route.kind == RouteType::Unicast) {
            let neighbour = neighbour_message(index, prefix.ip(), None);
            ignore(host.change(RouteNetlinkMessage::DelNeighbour(neighbour)).await, libc::ENOENT)?;
        }
    }
    Ok(())
}

/// netd's routes of the main table. The source or the MAC address that is missing is all zero, and so never as wanted.
pub(super) async fn observe(
    host: &Connection,
    names: &BTreeMap<u32, LinkName>,
) -> io::Result<BTreeMap<IpNetwork, Route>> {
    let neighbours = host.neighbours().await?;
    let macs: BTreeMap<(u32, IpAddr), [u8; 6]> = neighbours
        .iter()
        .filter_map(|found| message::neighbour(found).map(|(index, address, mac)| ((index, address), mac)))
        .collect();
    let routes = ours(host).await?.into_iter().filter_map(|route| {
        let (index, source) = match route.devices.as_slice() {
            [index] if route.kind == RouteType::Unicast => (*index, route.source),
            _ => return Some((route.destination, Route::Unreachable)),
        };
        let any = if route.destination.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let mac = macs.get(&(index, route.destination.ip())).copied().unwrap_or_default();
        let link = names.get(&index)?.clone();
        Some((route.destination, Route::Endpoint { link, source: source.unwrap_or(any), mac }))
    });
    Ok(routes.collect())
}

/// Sets the default route of a container; one that the container made itself, at the same metric, gives way.
pub(super) async fn set_default(inside: &Connection, index: u32, gateway: IpAddr) -> io::Result<()> {
    let message = default_message(index, gateway)?;
    inside.create(RouteNetlinkMessage::NewRoute(message), Existing::Replace).await
}

pub(super) async fn remove_default(inside: &Connection, index: u32, gateway: IpAddr) -> io::Result<()> {
    let message = default_message(index, gateway)?;
    ignore(inside.change(RouteNetlinkMessage::DelRoute(message)).await, libc::ESRCH)
}

fn default_message(index: u32, gateway: IpAddr) -> io::Result<RouteMessage> {
    let any = if gateway.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let everywhere = IpNetwork::new(any, 0).map_err(io::Error::other)?;
    let builder = builder(everywhere)?.output_interface(index);
    if gateway == any {
        // Everything is on the link.
        return Ok(builder.scope(RouteScope::Link).build());
    }
    Ok(builder.gateway(gateway).map_err(io::Error::other)?.build())
}

async fn replace(host: &Connection, prefix: IpNetwork, message: RouteMessage) -> io::Result<()> {
    let new = RouteNetlinkMessage::NewRoute(message);
    match host.create(new.clone(), Existing::Refuse).await {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            // Replacing takes whatever route stands first at this prefix, so it must be ours.
            let metric = metric_default(prefix.is_ipv4());
            if ours_at(host, prefix).await?.iter().any(|route| route.metric == metric) {
                return host.create(new, Existing::Replace).await;
            }
            Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("there is a route to {prefix} already, and not by netd; remove it or choose another subnet"),
            ))
        }
        done => done,
    }
}

/// netd's routes to exactly this prefix.
async fn ours_at(host: &Connection, prefix: IpNetwork) -> io::Result<Vec<RouteEntry>> {
    // Asking for the route of one address is quicker than reading them all, of which there may be thousands. Rules or
    // another table may make the kernel answer with another, or the link may be down: then we do read them all.
    if prefix == IpNetwork::from(prefix.ip()) {
        let mut message = builder(prefix)?.build();
        let address_family = message.header.address_family;
        let destination_prefix_length = prefix.prefix();
        let flags = RouteFlags::FibMatch;
        message.header = RouteHeader { address_family, destination_prefix_length, flags, ..RouteHeader::default() };
        if let Ok(Some(RouteNetlinkMessage::NewRoute(found))) = host.ask(RouteNetlinkMessage::GetRoute(message)).await {
            let found = RouteEntry::of(&found);
            if let Some(found) = found.filter(|route| route.ours && route.is_main() && route.destination == prefix) {
                return Ok(vec![found]);
            }
        }
    }
    Ok(ours(host).await?.into_iter().filter(|route| route.destination == prefix).collect())
}

async fn ours(host: &Connection) -> io::Result<Vec<RouteEntry>> {
    let mut routes = Vec::new();
    for family in FAMILIES {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        filter.header.protocol = protocol();
        let found = host.routes(filter).await?;
        routes.extend(found.iter().filter_map(RouteEntry::of).filter(|route| route.ours && route.is_main()));
    }
    Ok(routes)
}

fn builder(prefix: IpNetwork) -> io::Result<RouteMessageBuilder<IpAddr>> {
    let builder = RouteMessageBuilder::<IpAddr>::new().protocol(protocol());
    let mut builder = builder.destination_prefix(prefix.network(), prefix.prefix()).map_err(io::Error::other)?;
    if prefix.prefix() == 0 {
        // IPv6 refuses a destination of no bits.
        builder.get_mut().attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Destination(_)));
    }
    Ok(builder)
}

fn neighbour_message(index: u32, address: IpAddr, mac: Option<[u8; 6]>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    let (family, destination) = match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message.attributes.push(NeighbourAttribute::Protocol(protocol()));
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
    message
}

fn ignore(done: io::Result<()>, errno: i32) -> io::Result<()> {
    match done {
        Err(error) if matches!(error.raw_os_error(), Some(code) if code == errno || code == libc::ENODEV) => Ok(()),
        done => done,
    }
}
