//! How is the loopback device of a namespace found, and how is it put back?

use super::connection::Connection;
use super::message::{Address, Device, LOOPBACK, RouteEntry};
use super::{addresses, ipv6, routes};
use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::RouteMessage;
use rtnetlink::LinkUnspec;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;

/// How the loopback device of a namespace is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loopback {
    pub up: bool,
    /// False also where there is no IPv6 at all.
    pub ipv6: bool,
    pub addresses: BTreeSet<IpNetwork>,
}

pub(super) async fn read(inside: &Connection) -> io::Result<Loopback> {
    let devices: Vec<Device> = inside.links().await?.iter().map(Device::of).collect();
    let device = devices.iter().find(|device| device.index == LOOPBACK);
    Ok(Loopback {
        up: device.is_some_and(|device| device.up),
        ipv6: device.and_then(|device| device.ipv6).is_some_and(|conf| !conf.disabled),
        addresses: addresses_on(inside).await?,
    })
}

/// Puts it back to what it was. Addresses that it has gained meanwhile go only with the device: one that was up before
/// stays up, and what was added to it is its owner's.
pub(super) async fn put_back(inside: &Connection, namespace: &File, was: &Loopback) -> io::Result<()> {
    let now = read(inside).await?;
    if now.ipv6 && !was.ipv6 {
        ipv6::turn_off_inside(namespace, "lo")?;
    }
    if now.up && !was.up {
        let message = LinkUnspec::new_with_index(LOOPBACK).down().build();
        inside.change(RouteNetlinkMessage::SetLink(message)).await?;
        // The kernel adds 127.0.0.1 when the device comes up, and leaves it there when it goes down.
        for gained in addresses_on(inside).await?.difference(&was.addresses) {
            addresses::remove(inside, LOOPBACK, *gained).await?;
        }
    }
    Ok(())
}

async fn addresses_on(inside: &Connection) -> io::Result<BTreeSet<IpNetwork>> {
    let mut filter = AddressMessage::default();
    filter.header.index = LOOPBACK;
    let found = inside.addresses(filter).await?;
    let on_it = found.iter().filter_map(Address::of).filter(|address| address.index == LOOPBACK);
    Ok(on_it.map(|address| address.network).collect())
}

/// Whether somebody else's default route of a family stands where netd's would.
pub(super) async fn has_other_default(inside: &Connection, is_ipv4: bool) -> io::Result<bool> {
    let [v4, v6] = routes::FAMILIES;
    let mut filter = RouteMessage::default();
    filter.header.address_family = if is_ipv4 { v4 } else { v6 };
    let found = inside.routes(filter).await?;
    let mut routes = found.iter().filter_map(RouteEntry::of);
    Ok(routes.any(|route| {
        route.is_default() && route.is_main() && !route.ours && route.metric == routes::metric_default(is_ipv4)
    }))
}
