//! How is a container's interface on the wire of a parent made, kept and read?
//!
//! It is in the container's namespace from its birth, and nothing of it is on the host; a note of the instance tells where
//! it is. Its alias is `netd` and its name in plans. A name and an alias cannot be given in one step, so it is born with the
//! name that it has in plans, gets the alias, and then its own name: wherever netd is stopped, it is known.

use super::connection::{Connection, Existing};
use super::ipv6;
use super::links::{self, INSIDE_MAX};
use super::message::{Device, LOOPBACK, wire_alias};
use super::notes::{Note, Notes};
use crate::kernel::netns;
use crate::model::parent::{IpvlanMode, LinkDriver, MacvlanMode, Wire};
use crate::reconcile::target::{Link, LinkKind, LinkName};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanMode, LinkAttribute, LinkInfo, LinkMessage,
    MacVlanMode,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What this works with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wires<'a> {
    pub(super) host: &'a Connection,
    /// The host's namespace.
    pub(super) own: &'a File,
    pub(super) notes: &'a Notes,
}

/// Makes the interface, in its namespace at once, and down. A stale one of that name is replaced.
pub(super) async fn create(on: &Wires<'_>, name: &str, link: &Link, parent: &str, wire: Wire) -> io::Result<()> {
    delete(on, name).await?;
    let parent = links::device(on.host, parent).await?.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("the parent {parent} is not there; bring it back"))
    })?;
    let namespace = netns::open(&link.namespace)?;
    let id = identify(on.host, &namespace).await?;
    on.notes.write(name, &Note { id, namespace: link.namespace.clone() })?;
    let message = message(name, link, parent.index, wire, &namespace);
    let made = on.host.create(RouteNetlinkMessage::NewLink(message), Existing::Refuse).await;
    made.map_err(|error| explain(error, &parent.name, wire))?;
    for inside in Connection::inside(&[&namespace])? {
        inside
            .run(async |inside| {
                let named = LinkUnspec::new_with_name(name).alias(wire_alias(name)).build();
                inside.change(RouteNetlinkMessage::SetLink(named)).await?;
                links::keep_silent(inside, LinkUnspec::new_with_name(name)).await
            })
            .await?;
    }
    Ok(())
}

fn message(name: &str, link: &Link, parent: u32, wire: Wire, namespace: &File) -> LinkMessage {
    let mut message = LinkMessageBuilder::<LinkUnspec>::new()
        .name(name)
        .link(parent)
        .mtu(link.mtu)
        .setns_by_fd(namespace.as_raw_fd());
    if !wire.has_parents_mac() {
        message = message.address(link.mac.to_vec());
    }
    message.append_extra_attribute(LinkAttribute::LinkInfo(info(wire))).build()
}

fn info(wire: Wire) -> Vec<LinkInfo> {
    let (kind, data) = match wire {
        Wire::Macvlan(mode) => {
            let mode = match mode {
                MacvlanMode::Bridge => MacVlanMode::Bridge,
                MacvlanMode::Vepa => MacVlanMode::Vepa,
                MacvlanMode::Private => MacVlanMode::Private,
                MacvlanMode::Passthru => MacVlanMode::Passthrough,
            };
            (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]))
        }
        Wire::Ipvlan(mode) => {
            let mode = match mode {
                IpvlanMode::L2 => IpVlanMode::L2,
                IpvlanMode::L3 => IpVlanMode::L3,
            };
            (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]))
        }
    };
    vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]
}

/// What the kernel means by its refusal.
fn explain(error: io::Error, parent: &str, wire: Wire) -> io::Error {
    let what = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => return io::Error::new(io::ErrorKind::Unsupported, wire.driver().to_string()),
        Some(libc::EBUSY) => {
            format!(
                "{parent} is in use by something that takes its packets, such as a bridge, a bond or the other driver"
            )
        }
        Some(libc::EINVAL) if wire.is_alone() => {
            format!("the kernel refuses passthru on {parent}: something else is on its wire, or it cannot do it")
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{what} ({error}); choose another parent"))
}

/// The id by which the host's namespace knows another; it gets one where it has none. With it, the watch hears of changes
/// in there.
async fn identify(host: &Connection, namespace: &File) -> io::Result<i32> {
    if let Some(id) = links::id_of(host, namespace).await? {
        return Ok(id);
    }
    let mut message = NsidMessage::default();
    let descriptor = u32::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
    // -1: any that is free.
    message.attributes.extend([NsidAttribute::Fd(descriptor), NsidAttribute::Id(-1)]);
    match host.change(RouteNetlinkMessage::NewNsId(message)).await {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    links::id_of(host, namespace).await?.ok_or_else(|| io::Error::other("the kernel gives the namespace no id"))
}

/// Deletes the interface. No error when there is none.
pub(super) async fn delete(on: &Wires<'_>, name: &str) -> io::Result<()> {
    let Some(note) = on.notes.of(name)? else { return on.notes.remove(name) };
    if let Some(device) = find(on, &note, name).await? {
        let id = LinkAttribute::IfNetnsId(note.id);
        let message = LinkUnspec::new_with_index(device.index).append_extra_attribute(id).build();
        match on.host.change(RouteNetlinkMessage::DelLink(message)).await {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    on.notes.remove(name)
}

/// The interface, by the id of its namespace.
async fn find(on: &Wires<'_>, note: &Note, name: &str) -> io::Result<Option<Device>> {
    match on.host.links_of(Some(note.id)).await {
        Ok(links) => Ok(links.iter().map(Device::of).find(|device| device.is_wire_of(name))),
        // No namespace has the id any more.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets what differs on an existing interface.
pub(super) async fn configure(name: &str, link: &Link) -> io::Result<()> {
    let namespace = netns::open(&link.namespace)?;
    for inside in Connection::inside(&[&namespace])? {
        inside
            .run(async |inside| {
                links::configure_inside(inside, &namespace, |device| device.is_wire_of(name), link).await
            })
            .await?;
    }
    Ok(())
}

/// Reads the interfaces back that notes tell of, in the vocabulary of [`links::observe`]. A note of what is not there is
/// removed.
pub(super) async fn observe(on: &Wires<'_>, devices: &[Device]) -> io::Result<BTreeMap<LinkName, Link>> {
    let mut links = BTreeMap::new();
    let notes: Vec<(LinkName, Note)> = on.notes.all()?.into_iter().collect();
    for notes in notes.chunks(INSIDE_MAX) {
        let mut found = Vec::new();
        for (name, note) in notes {
            match netns::open(&note.namespace) {
                Ok(namespace) => found.push((name, note, namespace)),
                Err(error) if netns::is_absent(&error) => orphan(on, name, note, &mut links).await?,
                Err(error) => return Err(error),
            }
        }
        let namespaces: Vec<&File> = found.iter().map(|(_, _, namespace)| namespace).collect();
        let connections = Connection::inside(&namespaces)?;
        for (inside, (name, note, _)) in connections.into_iter().zip(&found) {
            match inside.run(async |inside| observe_inside(on, inside, name, note, devices).await).await? {
                Some(link) => drop(links.insert((*name).clone(), link)),
                None => orphan(on, name, note, &mut links).await?,
            }
        }
    }
    Ok(links)
}

/// An interface that is not in the namespace at its path: it is to be made again. Or there is none, and the note goes.
async fn orphan(on: &Wires<'_>, name: &str, note: &Note, links: &mut BTreeMap<LinkName, Link>) -> io::Result<()> {
    if find(on, note, name).await?.is_none() {
        return on.notes.remove(name);
    }
    links.insert(name.to_owned(), links::unfinished_as(LinkKind::Veth { gateway_mac: [0; 6] }));
    Ok(())
}

async fn observe_inside(
    on: &Wires<'_>,
    inside: &Connection,
    name: &str,
    note: &Note,
    devices: &[Device],
) -> io::Result<Option<Link>> {
    let own: Vec<Device> = inside.links().await?.iter().map(Device::of).collect();
    let Some(inner) = own.iter().find(|device| device.is_wire_of(name)) else { return Ok(None) };
    // What another instance made in a namespace that both know.
    if !links::is_peer_in(inside, inner, on.own).await? {
        return Ok(None);
    }
    let parent = devices.iter().find(|device| Some(device.index) == inner.peer);
    let Some((parent, wire)) = parent.zip(inner.wire) else { return Ok(None) };
    let mut link = links::unfinished_as(LinkKind::OnParent { parent: parent.name.clone(), wire });
    let loopback = own.iter().find(|device| device.index == LOOPBACK);
    link.ipv6 = ipv6::is_on_inside(inner, loopback);
    if loopback.is_some_and(|device| device.up) && inner.up {
        link.mtu = inner.mtu;
    }
    link.namespace.clone_from(&note.namespace);
    links::read_inside(inside, inner, &mut link).await?;
    Ok(Some(link))
}

/// Whether the kernel can make such interfaces, tried on a veth pair in this namespace.
pub(super) async fn is_known(here: &Connection, driver: LinkDriver) -> io::Result<bool> {
    let base = LinkVeth::new("probe0", "probe1").build();
    here.create(RouteNetlinkMessage::NewLink(base), Existing::Refuse).await?;
    let index = links::device(here, "probe0").await?.ok_or(io::ErrorKind::NotFound)?.index;
    let info = match driver {
        LinkDriver::Macvlan => info(Wire::Macvlan(MacvlanMode::Bridge)),
        LinkDriver::Ipvlan => info(Wire::Ipvlan(IpvlanMode::L2)),
        LinkDriver::Vlan => vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(1)]))],
    };
    let tried = LinkMessageBuilder::<LinkUnspec>::new().name("probe2").link(index);
    let tried = tried.append_extra_attribute(LinkAttribute::LinkInfo(info)).build();
    match here.create(RouteNetlinkMessage::NewLink(tried), Existing::Refuse).await {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, Parseable};

    #[test]
    fn the_message_says_what_the_kernel_reads() {
        let namespace = netns::own().expect("this namespace");
        let wires = [
            Wire::Macvlan(MacvlanMode::Bridge),
            Wire::Macvlan(MacvlanMode::Vepa),
            Wire::Macvlan(MacvlanMode::Private),
            Wire::Macvlan(MacvlanMode::Passthru),
            Wire::Ipvlan(IpvlanMode::L2),
            Wire::Ipvlan(IpvlanMode::L3),
        ];
        for wire in wires {
            let kind = LinkKind::OnParent { parent: "eth0".to_owned(), wire };
            let link = Link { mac: [2, 0, 0, 0, 0, 9], mtu: 1400, ..links::unfinished_as(kind) };
            let message = message("nd5", &link, 7, wire, &namespace);
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            let read = LinkMessage::parse(&bytes).expect("a message");
            let device = Device::of(&read);
            assert_eq!((device.peer, device.mtu, device.wire), (Some(7), 1400, Some(wire)));
            assert!(device.is_wire_of("nd5") && !device.is_wire_of("nd6"), "from its birth");
            assert_eq!(device.mac == link.mac, !wire.has_parents_mac(), "{wire:?}");
            let goes_to = LinkAttribute::NetNsFd(namespace.as_raw_fd());
            assert!(read.attributes.contains(&goes_to), "{wire:?}");
        }
    }

    #[test]
    fn the_alias_tells_it_whatever_its_name() {
        let alias = Some("netd nd5".to_owned());
        let device = Device { name: "lan".to_owned(), alias, on_parent: true, ..Device::default() };
        assert!(device.is_wire_of("nd5") && !device.is_wire_of("nd55"));
        assert!(!Device { on_parent: false, ..device }.is_wire_of("nd5"));
    }

    #[test]
    fn refusals_of_the_kernel_are_explained() {
        let told = |errno, wire| explain(io::Error::from_raw_os_error(errno), "eth0", wire).to_string();
        let ipvlan = Wire::Ipvlan(IpvlanMode::L2);
        assert_eq!(told(libc::EOPNOTSUPP, ipvlan), LinkDriver::Ipvlan.to_string());
        assert!(told(libc::EBUSY, ipvlan).starts_with("eth0 is in use by something that takes its packets"));
        let passthru = Wire::Macvlan(MacvlanMode::Passthru);
        assert!(told(libc::EINVAL, passthru).starts_with("the kernel refuses passthru on eth0"));
        assert_eq!(told(libc::EINVAL, ipvlan), "Invalid argument (os error 22)");
    }
}
