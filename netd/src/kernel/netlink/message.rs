//! What does a netlink message say, in netd's own words?
//!
//! The attributes of a message are a list in which each may be missing; here they are read once into plain types.

use crate::model::node::XdpMode;
use crate::model::parent::{IpvlanMode, MacvlanMode, Wire};
use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanMode,
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, MacVlanMode,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Marks what netd made: `RTA_PROTOCOL` of routes, `IFA_PROTO` of addresses (Linux 5.18), `NDA_PROTOCOL` of neighbours.
/// The line `110 netd` in `/etc/iproute2/rt_protos` makes `ip route` show the name. Only what bears it is ever changed
/// or removed.
pub const PROTOCOL: u8 = 0x6e;

/// The index of `lo`, which is the first interface of every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Alias of the VLAN sub-interfaces that netd made.
pub(crate) const VLAN_ALIAS: &str = "netd";
/// With what the name begins that they have until they have their alias: the two cannot be given in one step.
pub(crate) const VLAN_BIRTH_NAME: &str = "nd.";

/// Alias of a container's interface on the wire of a parent, by its name in plans.
pub(crate) fn wire_alias(name: &str) -> String {
    format!("netd {name}")
}

/// A network interface.
#[expect(clippy::struct_excessive_bools, reason = "the kernel's own flags, each independent of the others")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) ethernet: bool,
    pub(crate) veth: bool,
    pub(crate) up: bool,
    /// `net.ipv4.conf.NAME.forwarding`.
    pub(crate) forwarding: bool,
    /// None: there is no IPv6 on it.
    pub(crate) ipv6: Option<Ipv6Conf>,
    pub(crate) mtu: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) alias: Option<String>,
    /// It is macvlan or ipvlan.
    pub(crate) on_parent: bool,
    /// How it shares its parent's wire; none: in a way that netd does not know.
    pub(crate) wire: Option<Wire>,
    /// Of a VLAN sub-interface.
    pub(crate) vlan: Option<u16>,
    /// Of a veth: the index of the other side, in its own namespace. Of what has a parent: that one's.
    pub(crate) peer: Option<u32>,
    /// The id by which this namespace knows that of `peer`; none when both are in the same.
    pub(crate) peer_namespace: Option<i32>,
    /// The XDP programs on it, by their numbers.
    pub(crate) xdp: Vec<(XdpMode, u32)>,
}

impl Device {
    pub(crate) fn of(message: &LinkMessage) -> Self {
        let mut device = Self {
            index: message.header.index,
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
                LinkAttribute::Address(mac) => device.mac = mac.as_slice().try_into().unwrap_or_default(),
                LinkAttribute::IfAlias(alias) => device.alias = Some(alias.clone()),
                LinkAttribute::Link(peer) => device.peer = Some(*peer),
                LinkAttribute::LinkNetNsId(id) => device.peer_namespace = Some(*id),
                LinkAttribute::LinkInfo(info) => device.read(info),
                LinkAttribute::Xdp(attributes) => device.xdp = attributes.iter().filter_map(xdp).collect(),
                LinkAttribute::AfSpecUnspec(families) => {
                    device.forwarding = forwarding(families);
                    device.ipv6 = families.iter().find_map(Ipv6Conf::of);
                }
                _ => {}
            }
        }
        device
    }

    fn read(&mut self, info: &[LinkInfo]) {
        for part in info {
            match part {
                LinkInfo::Kind(kind) => {
                    self.veth = *kind == InfoKind::Veth;
                    self.on_parent = matches!(kind, InfoKind::MacVlan | InfoKind::IpVlan);
                }
                LinkInfo::Data(InfoData::MacVlan(data)) => self.wire = data.iter().find_map(macvlan),
                LinkInfo::Data(InfoData::IpVlan(data)) => self.wire = data.iter().find_map(ipvlan),
                LinkInfo::Data(InfoData::Vlan(data)) => {
                    self.vlan = data.iter().find_map(|part| if let InfoVlan::Id(id) = part { Some(*id) } else { None });
                }
                _ => {}
            }
        }
    }

    /// Whether this is a VLAN sub-interface that netd made: by its alias, or, before it has that, by its name.
    pub(crate) fn is_our_vlan(&self) -> bool {
        self.vlan.is_some() && (self.alias.as_deref() == Some(VLAN_ALIAS) || self.name.starts_with(VLAN_BIRTH_NAME))
    }

    /// Whether this is the interface on a parent's wire that netd made for the link `name`: by its alias, or, before it has
    /// that, by its name.
    pub(crate) fn is_wire_of(&self, name: &str) -> bool {
        self.on_parent && (self.name == name || self.alias.as_deref() == Some(&wire_alias(name)))
    }

    /// Whether this is the host side of a container's link: a veth whose name is `nd` and a hexadecimal number.
    pub(crate) fn is_ours(&self) -> bool {
        let hexadecimal = |digits: &str| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        self.veth && self.name.strip_prefix("nd").is_some_and(hexadecimal)
    }
}

const fn macvlan(data: &InfoMacVlan) -> Option<Wire> {
    let InfoMacVlan::Mode(mode) = data else { return None };
    Some(Wire::Macvlan(match mode {
        MacVlanMode::Bridge => MacvlanMode::Bridge,
        MacVlanMode::Vepa => MacvlanMode::Vepa,
        MacVlanMode::Private => MacvlanMode::Private,
        MacVlanMode::Passthrough => MacvlanMode::Passthru,
        _ => return None,
    }))
}

const fn ipvlan(data: &InfoIpVlan) -> Option<Wire> {
    let InfoIpVlan::Mode(mode) = data else { return None };
    Some(Wire::Ipvlan(match mode {
        IpVlanMode::L2 => IpvlanMode::L2,
        IpVlanMode::L3 => IpvlanMode::L3,
        _ => return None,
    }))
}

const fn xdp(attribute: &LinkXdp) -> Option<(XdpMode, u32)> {
    match attribute {
        LinkXdp::DrvProgId(id) => Some((XdpMode::Native, *id)),
        LinkXdp::SkbProgId(id) => Some((XdpMode::Generic, *id)),
        _ => None,
    }
}

/// What matters of `net.ipv6.conf.NAME`.
#[expect(clippy::struct_excessive_bools, reason = "the kernel's own flags, each independent of the others")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ipv6Conf {
    pub(crate) disabled: bool,
    pub(crate) forwarding: bool,
    /// Router advertisements are listened to.
    pub(crate) accept_ra: bool,
    /// Addresses are made of the prefixes that they name.
    pub(crate) autoconf: bool,
}

impl Ipv6Conf {
    fn of(family: &AfSpecUnspec) -> Option<Self> {
        let AfSpecUnspec::Inet6(attributes) = family else { return None };
        attributes.iter().find_map(|attribute| match attribute {
            AfSpecInet6::DevConf(conf) => Some(Self {
                disabled: conf.disable_ipv6 != 0,
                forwarding: conf.forwarding != 0,
                accept_ra: conf.accept_ra != 0,
                autoconf: conf.autoconf != 0,
            }),
            _ => None,
        })
    }
}

fn forwarding(families: &[AfSpecUnspec]) -> bool {
    families.iter().any(|family| match family {
        AfSpecUnspec::Inet(inet) => {
            inet.iter().any(|conf| matches!(conf, AfSpecInet::DevConf(conf) if conf.forwarding == 1))
        }
        _ => false,
    })
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    /// The address with its prefix length.
    pub(crate) network: IpNetwork,
    pub(crate) ours: bool,
}

impl Address {
    /// None for what is neither IPv4 nor IPv6.
    pub(crate) fn of(message: &AddressMessage) -> Option<Self> {
        let mut address = None;
        let mut local = None;
        let mut ours = false;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Protocol(protocol) => ours = *protocol == AddressProtocol::Other(PROTOCOL),
                _ => {}
            }
        }
        // On a point-to-point interface, IFA_ADDRESS is the other end's.
        let network = IpNetwork::new(local.or(address)?, message.header.prefix_len).ok()?;
        Some(Self { index: message.header.index, network, ours })
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteEntry {
    pub(crate) destination: IpNetwork,
    pub(crate) kind: RouteType,
    pub(crate) table: u32,
    pub(crate) ours: bool,
    /// Indexes of the outgoing interfaces; several in a multipath route.
    pub(crate) devices: Vec<u32>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) metric: u32,
}

impl RouteEntry {
    /// None for what is neither IPv4 nor IPv6.
    pub(crate) fn of(message: &RouteMessage) -> Option<Self> {
        let any = match message.header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut destination = any;
        let mut route = Self {
            destination: IpNetwork::new(any, 0).ok()?,
            kind: message.header.kind,
            table: u32::from(message.header.table),
            ours: message.header.protocol == RouteProtocol::Other(PROTOCOL),
            devices: Vec::new(),
            gateway: None,
            source: None,
            metric: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::PrefSource(address) => route.source = ip(address),
                RouteAttribute::Oif(index) => route.devices.push(*index),
                RouteAttribute::MultiPath(hops) => route.devices.extend(hops.iter().map(|hop| hop.interface_index)),
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Priority(metric) => route.metric = *metric,
                _ => {}
            }
        }
        route.destination = IpNetwork::new(destination, message.header.destination_prefix_length).ok()?;
        Some(route)
    }

    pub(crate) fn is_default(&self) -> bool {
        self.destination.prefix() == 0
    }

    pub(crate) fn is_main(&self) -> bool {
        self.table == u32::from(RouteHeader::RT_TABLE_MAIN)
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// A permanent neighbour entry of netd: (interface index, address, MAC address). None for any other.
pub(crate) fn neighbour(message: &NeighbourMessage) -> Option<(u32, IpAddr, [u8; 6])> {
    if !is_our_neighbour(message) || message.header.state != NeighbourState::Permanent {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some((message.header.ifindex, address?, mac?))
}

pub(crate) fn is_our_neighbour(message: &NeighbourMessage) -> bool {
    message.attributes.contains(&NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_links_are_veths_named_nd_and_a_number() {
        let device = |name: &str, veth| Device { name: name.to_owned(), veth, ..Device::default() };
        for name in ["nd1", "nd0", "ndff", "nd1a2b"] {
            assert!(device(name, true).is_ours(), "{name}");
            assert!(!device(name, false).is_ours(), "{name} as another kind");
        }
        for name in ["nd", "ndx", "nd1g", "ndFF", "eth0", "and1", "nd-1"] {
            assert!(!device(name, true).is_ours(), "{name}");
        }
    }
}
