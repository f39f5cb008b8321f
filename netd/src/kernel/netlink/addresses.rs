//! How are addresses made, kept and read: those of containers, and the gateways on the loopback device?

use super::connection::{Connection, Existing};
use super::message::{Address, LOOPBACK, PROTOCOL};
use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use rtnetlink::AddressMessageBuilder;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses on an interface that are netd's.
pub(super) async fn ours(connection: &Connection, index: u32) -> io::Result<BTreeSet<IpNetwork>> {
    let mut filter = AddressMessage::default();
    filter.header.index = index;
    let found = connection.addresses(filter).await?;
    let ours = found.iter().filter_map(Address::of).filter(|address| address.ours && address.index == index);
    Ok(ours.map(|address| address.network).collect())
}

/// Makes netd's addresses on an interface be these. One of them that is there and another's becomes netd's; all others
/// are left alone.
pub(super) async fn set(connection: &Connection, index: u32, wanted: &BTreeSet<IpNetwork>) -> io::Result<()> {
    for surplus in ours(connection, index).await?.difference(wanted) {
        remove(connection, index, *surplus).await?;
    }
    // Read again: with the first address of a subnet, the kernel removes all others of it.
    for missing in wanted.difference(&ours(connection, index).await?) {
        let message = RouteNetlinkMessage::NewAddress(message(index, *missing));
        connection.create(message, Existing::Replace).await?;
    }
    Ok(())
}

/// Adds the address to the loopback device. One that is there and not netd's is left alone, and is an error.
pub(super) async fn add_gateway(host: &Connection, gateway: IpAddr) -> io::Result<()> {
    let message = message(LOOPBACK, IpNetwork::from(gateway));
    match host.create(RouteNetlinkMessage::NewAddress(message), Existing::Refuse).await {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            if ours(host, LOOPBACK).await?.contains(&IpNetwork::from(gateway)) {
                return Ok(());
            }
            Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{gateway} is on lo already, and not by netd; remove it or choose another gateway"),
            ))
        }
        done => done,
    }
}

/// Removes netd's address from the loopback device. No error when it is gone already.
pub(super) async fn delete_gateway(host: &Connection, gateway: IpAddr) -> io::Result<()> {
    let address = IpNetwork::from(gateway);
    if ours(host, LOOPBACK).await?.contains(&address) {
        remove(host, LOOPBACK, address).await?;
    }
    Ok(())
}

pub(super) async fn remove(connection: &Connection, index: u32, address: IpNetwork) -> io::Result<()> {
    let message = RouteNetlinkMessage::DelAddress(message(index, address));
    match connection.change(message).await {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
        done => done,
    }
}

fn message(index: u32, address: IpNetwork) -> AddressMessage {
    let mut message = match address.ip() {
        IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new().address(v4, address.prefix()).build(),
        IpAddr::V6(v6) => {
            let mut message = AddressMessageBuilder::<Ipv6Addr>::new().address(v6, address.prefix()).build();
            // netd gives each address out once, and the first packet should not wait. A gateway is the host's own by the
            // route of the kernel's own table; one in the main table would say that the host routes it somewhere.
            let flags = if index == LOOPBACK { AddressFlags::Noprefixroute } else { AddressFlags::empty() };
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | flags));
            message
        }
    };
    message.header.index = index;
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    message
}
