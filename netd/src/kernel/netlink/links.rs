//! How is a container's veth pair made, kept and read; and how is what is inside of a container, whatever its link?
//!
//! The alias of the host side is the path of the namespace that holds the other side (`ip link show` prints it), so that
//! a link can be recognised by whoever comes later, also when its namespace is not in netd's own folder.

use super::connection::{Connection, Existing};
use super::message::{Device, LOOPBACK, RouteEntry};
use super::{addresses, ipv6, routes};
use crate::kernel::netns;
use crate::reconcile::target::{Link, LinkKind, LinkName};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoVeth, LinkAttribute, LinkMessage,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use tokio::runtime::Builder;

/// Sockets that are open inside containers at a time.
pub(super) const INSIDE_MAX: usize = 64;
/// Longest alias of an interface, in bytes (`IFALIASZ`, less the terminator).
const ALIAS_LEN_MAX: usize = 255;

/// Makes the pair in one step, the container side in its namespace at once. A link that bears the name is replaced when
/// it is a veth.
pub(super) async fn create(host: &Connection, name: &str, link: &Link, gateway_mac: [u8; 6]) -> io::Result<()> {
    delete(host, name).await?;
    let alias = alias(&link.namespace)?;
    let namespace = netns::open(&link.namespace)?;
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(link.interface.as_str())
        .address(link.mac.to_vec())
        .mtu(link.mtu)
        .setns_by_fd(namespace.as_raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(name, &link.interface)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .address(gateway_mac.to_vec())
        .mtu(link.mtu)
        .build();
    let made = host.create(RouteNetlinkMessage::NewLink(pair), Existing::Refuse).await;
    made.map_err(|error| name_taken(error, link))?;
    // Not possible in the same step. Without it, `observe` tells a link of no namespace, which is made again.
    let named = LinkUnspec::new_with_name(name).alias(alias).build();
    host.change(RouteNetlinkMessage::SetLink(named)).await?;
    keep_silent(host, LinkUnspec::new_with_name(name)).await
}

/// Says of a name that is taken inside of the container whose it is.
pub(super) fn name_taken(error: io::Error, link: &Link) -> io::Error {
    if error.raw_os_error() != Some(libc::EEXIST) {
        return error;
    }
    let Link { interface, namespace, .. } = link;
    let what = format!("an interface named {interface} is in {} already; remove or rename it", namespace.display());
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

/// Lets the kernel make no IPv6 link-local address when the interface comes up. On a network without IPv6 nothing answers
/// there, and a container would send solicitations that are only dropped; with it, netd gives the address.
pub(super) async fn keep_silent(here: &Connection, interface: LinkMessageBuilder<LinkUnspec>) -> io::Result<()> {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let silent = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
    match here.change(RouteNetlinkMessage::SetLink(interface.append_extra_attribute(silent).build())).await {
        // A kernel without IPv6 is silent already.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(()),
        done => done,
    }
}

/// Deletes both sides. No error when it is gone already; refused for what is not a veth.
pub(super) async fn delete(host: &Connection, name: &str) -> io::Result<()> {
    match device(host, name).await? {
        None => Ok(()),
        Some(device) if device.is_ours() => {
            let message = LinkUnspec::new_with_index(device.index).build();
            match host.change(RouteNetlinkMessage::DelLink(message)).await {
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
                done => done,
            }
        }
        Some(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "an interface of that name exists, and netd did not make it; rename or remove it",
        )),
    }
}

/// Sets what differs on an existing pair.
pub(super) async fn configure(host: &Connection, name: &str, link: &Link, gateway_mac: [u8; 6]) -> io::Result<()> {
    let outer = device(host, name).await?.filter(Device::is_ours).ok_or(Errno::ENODEV)?;
    let namespace = netns::open(&link.namespace)?;
    if !is_peer_in(host, &outer, &namespace).await? {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("its other side is not in {}; it must be made again", link.namespace.display()),
        ));
    }
    let alias = alias(&link.namespace)?;
    let mut message = LinkUnspec::new_with_index(outer.index);
    let mut differs = false;
    if outer.mac != gateway_mac {
        (message, differs) = (message.address(gateway_mac.to_vec()), true);
    }
    if outer.mtu != link.mtu {
        (message, differs) = (message.mtu(link.mtu), true);
    }
    if outer.alias.as_ref() != Some(&alias) {
        (message, differs) = (message.alias(alias), true);
    }
    if !outer.forwarding {
        (message, differs) = (message.append_extra_attribute(forwarding()), true);
    }
    if !outer.up {
        (message, differs) = (message.up(), true);
    }
    if differs {
        host.change(RouteNetlinkMessage::SetLink(message.build())).await?;
    }
    if link.ipv6 && !ipv6::is_on_outside(&outer) {
        ipv6::turn_on_outside(host, name).await?;
    }
    for inside in Connection::inside(&[&namespace])? {
        inside
            .run(async |inside| {
                configure_inside(inside, &namespace, |device| Some(device.index) == outer.peer, link).await
            })
            .await?;
    }
    Ok(())
}

/// Sets the loopback device of a namespace up.
pub(super) async fn raise_loopback(inside: &Connection) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(LOOPBACK).up().build();
    inside.change(RouteNetlinkMessage::SetLink(message)).await
}

/// Sets what differs on the container's side, which is the interface that `is_it` says yes to.
pub(super) async fn configure_inside(
    inside: &Connection,
    namespace: &File,
    is_it: impl Fn(&Device) -> bool,
    link: &Link,
) -> io::Result<()> {
    let devices: Vec<Device> = inside.links().await?.iter().map(Device::of).collect();
    if devices.iter().any(|device| device.index == LOOPBACK && !device.up) {
        raise_loopback(inside).await?;
    }
    let loopback = devices.iter().find(|device| device.index == LOOPBACK);
    let inner = devices.iter().find(|device| is_it(device)).ok_or(Errno::ENODEV)?;
    if inner.name != link.interface {
        // Only a link that is down can be renamed on kernels before 6.2.
        let message = LinkUnspec::new_with_index(inner.index).down().build();
        inside.change(RouteNetlinkMessage::SetLink(message)).await?;
        let message = LinkUnspec::new_with_index(inner.index).name(link.interface.as_str()).build();
        let renamed = inside.change(RouteNetlinkMessage::SetLink(message)).await;
        renamed.map_err(|error| name_taken(error, link))?;
    }
    if !inner.up {
        keep_silent(inside, LinkUnspec::new_with_index(inner.index)).await?;
    }
    if !link.ipv6 && inner.ipv6.is_some_and(|conf| !conf.disabled) {
        ipv6::turn_off_inside(namespace, &link.interface)?;
    }
    let mut message = LinkUnspec::new_with_index(inner.index).up();
    if inner.mac != link.mac && !has_parents_mac(link) {
        message = message.address(link.mac.to_vec());
    }
    if inner.mtu != link.mtu {
        message = message.mtu(link.mtu);
    }
    inside.change(RouteNetlinkMessage::SetLink(message.build())).await?;
    // Not before the MTU is what IPv6 needs.
    if link.ipv6 && !ipv6::is_on_inside(inner, loopback) {
        ipv6::turn_on_inside(namespace, &link.interface)?;
    }

    addresses::set(inside, inner.index, &link.addresses).await?;
    let defaults = default_routes(inside, inner.index).await?;
    for surplus in defaults.difference(&link.default_routes) {
        routes::remove_default(inside, inner.index, *surplus).await?;
    }
    for wanted in link.default_routes.difference(&defaults) {
        routes::set_default(inside, inner.index, *wanted).await?;
    }
    Ok(())
}

/// Then the kernel sees to it; setting it would set the parent's.
fn has_parents_mac(link: &Link) -> bool {
    matches!(link.kind, LinkKind::OnParent { wire, .. } if wire.has_parents_mac())
}

/// Reads pairs back, by their host sides. What cannot be said in the vocabulary of [`Link`] is said so:
/// - `namespace` is empty when the other side is not where the alias says: the link must be made again;
/// - `mtu` is 0 when a side, or the container's `lo`, is down, when the sides differ in their MTU, or when forwarding is
///   off on the host side: [`configure`] puts it right.
///
/// Many are read on every core: a look at a thousand containers is what a change waits for at most.
pub(super) async fn observe(host: &Connection, outers: &[&Device]) -> io::Result<BTreeMap<LinkName, Link>> {
    if outers.len() <= INSIDE_MAX {
        return observe_some(host, outers).await;
    }
    let look = |outers: &[&Device]| {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async { observe_some(&Connection::here()?, outers).await })
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let parts = outers.chunks(outers.len().div_ceil(cores));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || look(part))).collect();
        let mut links = BTreeMap::new();
        for thread in threads {
            links.extend(thread.join().map_err(|_| io::Error::other("a thread that reads links panicked"))??);
        }
        Ok(links)
    })
}

async fn observe_some(host: &Connection, outers: &[&Device]) -> io::Result<BTreeMap<LinkName, Link>> {
    let mut links = BTreeMap::new();
    for outers in outers.chunks(INSIDE_MAX) {
        let mut found = Vec::new();
        for outer in outers {
            match namespace_of(host, outer).await? {
                Some(namespace) => found.push((*outer, namespace)),
                None => drop(links.insert(outer.name.clone(), unfinished(outer))),
            }
        }
        let namespaces: Vec<&File> = found.iter().map(|(_, namespace)| namespace).collect();
        let connections = Connection::inside(&namespaces)?;
        for (inside, (outer, _)) in connections.into_iter().zip(&found) {
            let link = inside.run(async |inside| observe_inside(inside, outer).await).await?;
            links.insert(outer.name.clone(), link);
        }
    }
    Ok(links)
}

async fn observe_inside(inside: &Connection, outer: &Device) -> io::Result<Link> {
    let mut link = unfinished(outer);
    let devices: Vec<Device> = inside.links().await?.iter().map(Device::of).collect();
    // Gone since the host's side was read, both: the next look will not find it.
    let Some(inner) = devices.iter().find(|device| Some(device.index) == outer.peer) else { return Ok(link) };
    let loopback = devices.iter().find(|device| device.index == LOOPBACK);
    let loopback_up = loopback.is_some_and(|device| device.up);
    link.ipv6 = ipv6::is_on_outside(outer) && ipv6::is_on_inside(inner, loopback);
    if loopback_up && outer.up && inner.up && outer.forwarding && outer.mtu == inner.mtu {
        link.mtu = outer.mtu;
    }
    link.namespace = outer.alias.as_ref().map(PathBuf::from).unwrap_or_default();
    read_inside(inside, inner, &mut link).await?;
    Ok(link)
}

/// What the container's side is called and has.
pub(super) async fn read_inside(inside: &Connection, inner: &Device, link: &mut Link) -> io::Result<()> {
    link.interface.clone_from(&inner.name);
    link.mac = inner.mac;
    link.addresses = addresses::ours(inside, inner.index).await?;
    link.default_routes = default_routes(inside, inner.index).await?;
    Ok(())
}

/// The namespace that the alias names, if it holds the other side.
async fn namespace_of(host: &Connection, outer: &Device) -> io::Result<Option<File>> {
    match netns::open(Path::new(outer.alias.as_deref().unwrap_or_default())) {
        Ok(namespace) => Ok(if is_peer_in(host, outer, &namespace).await? { Some(namespace) } else { None }),
        // Only what is known to be gone counts as gone: on any other error, the link must not be made again.
        Err(error) if netns::is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unfinished(outer: &Device) -> Link {
    unfinished_as(LinkKind::Veth { gateway_mac: outer.mac })
}

/// A link of no namespace.
pub(super) fn unfinished_as(kind: LinkKind) -> Link {
    Link {
        namespace: PathBuf::new(),
        interface: String::new(),
        mac: [0; 6],
        kind,
        mtu: 0,
        addresses: BTreeSet::new(),
        ipv6: false,
        default_routes: BTreeSet::new(),
    }
}

/// The interface of that name, if there is one.
pub(super) async fn device(connection: &Connection, name: &str) -> io::Result<Option<Device>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match connection.ask(RouteNetlinkMessage::GetLink(message)).await {
        Ok(Some(RouteNetlinkMessage::NewLink(found))) => Ok(Some(Device::of(&found))),
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gateways of netd's own default routes by this interface.
async fn default_routes(connection: &Connection, index: u32) -> io::Result<BTreeSet<IpAddr>> {
    let mut gateways = BTreeSet::new();
    for family in routes::FAMILIES {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        filter.header.protocol = routes::protocol();
        let found = connection.routes(filter).await?;
        let defaults = found.iter().filter_map(RouteEntry::of);
        gateways.extend(
            defaults
                .filter(|route| route.ours && route.is_main() && route.is_default() && route.devices == [index])
                .map(|route| route.gateway.unwrap_or(route.destination.ip())),
        );
    }
    Ok(gateways)
}

/// Whether the other side of `outer` is in this namespace.
pub(super) async fn is_peer_in(host: &Connection, outer: &Device, namespace: &File) -> io::Result<bool> {
    let Some(expected) = outer.peer_namespace else { return Ok(false) };
    Ok(expected >= 0 && id_of(host, namespace).await? == Some(expected))
}

/// The id by which this namespace knows another; none: it has none for it.
pub(super) async fn id_of(host: &Connection, namespace: &File) -> io::Result<Option<i32>> {
    let mut message = NsidMessage::default();
    let descriptor = u32::try_from(namespace.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    message.attributes.push(NsidAttribute::Fd(descriptor));
    let answer = host.ask(RouteNetlinkMessage::GetNsId(message)).await?;
    let Some(RouteNetlinkMessage::NewNsId(answer)) = answer else { return Ok(None) };
    let mut ids =
        answer.attributes.iter().filter_map(|part| if let NsidAttribute::Id(id) = part { Some(*id) } else { None });
    Ok(ids.find(|id| *id >= 0))
}

/// `net.ipv4.conf.NAME.forwarding=1`, without the file: it also works where `/proc/sys` is read-only.
fn forwarding() -> LinkAttribute {
    let mut conf = InetDevConf::default();
    conf.forwarding = 1;
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)])])
}

fn alias(namespace: &Path) -> io::Result<String> {
    match namespace.to_str() {
        Some(path) if path.len() <= ALIAS_LEN_MAX => Ok(path.to_owned()),
        Some(_) | None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path of a namespace must be UTF-8 of at most {ALIAS_LEN_MAX} bytes: {}", namespace.display()),
        )),
    }
}
