//! How is it found out what this node is?

pub use crate::model::node::{Interface, Ipv6, NodeFacts, Uplink};

use super::netlink::message::{Address, Device, Ipv6Conf, LOOPBACK, RouteEntry};
use netlink_packet_route::route::RouteType;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// The facts, and the interfaces that should be uplinks and cannot be: they do not carry Ethernet frames, which is all
/// that the programs can read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    pub facts: NodeFacts,
    pub not_ethernet: BTreeSet<String>,
}

impl NodeFacts {
    /// `wanted` names the uplinks; none named: the interfaces of the default routes of all tables, since policy routing
    /// may send traffic out by any of them.
    pub(crate) fn from_kernel(
        devices: &[Device],
        addresses: &[Address],
        routes: &[RouteEntry],
        wanted: &[String],
    ) -> Probed {
        let ours: BTreeSet<u32> = devices.iter().filter(|device| device.is_ours()).map(|device| device.index).collect();
        let foreign: Vec<&Address> = addresses.iter().filter(|a| !a.ours && !ours.contains(&a.index)).collect();
        let routes = || {
            let somewhere_else = routes.iter().filter(|route| !route.ours && leads_away(route.kind));
            somewhere_else.filter(|route| route.devices.is_empty() || route.devices.iter().any(|d| !ours.contains(d)))
        };
        // IPv6 routes that lead nowhere name the loopback device.
        let leaving = routes().filter(|route| route.is_default() && route.kind == RouteType::Unicast);
        let leaving: BTreeSet<u32> = leaving.flat_map(|route| route.devices.iter().copied()).collect();
        let is_uplink = |device: &&Device| match wanted {
            [] => leaving.contains(&device.index) && !ours.contains(&device.index),
            names => names.contains(&device.name),
        };
        let (ethernet, other): (Vec<&Device>, Vec<&Device>) =
            devices.iter().filter(is_uplink).partition(|device| device.ethernet);
        let uplink = |device: &Device| Uplink {
            mtu: device.mtu,
            addresses: foreign.iter().filter(|a| a.index == device.index).map(|a| a.network.ip()).collect(),
            gateway6: gateway6(routes(), device.index),
        };
        // Gateways have their addresses on the loopback device.
        let ipv6 = match devices.iter().find(|device| device.index == LOOPBACK).and_then(|lo| lo.ipv6) {
            None => Ipv6::Absent,
            Some(Ipv6Conf { disabled: true, .. }) => Ipv6::Disabled,
            Some(Ipv6Conf { disabled: false, .. }) => Ipv6::Available,
        };
        let interfaces = devices.iter().filter(|device| device.ethernet && !device.is_ours() && !device.is_our_vlan());
        let facts = Self {
            uplinks: ethernet.into_iter().map(|device| (device.name.clone(), uplink(device))).collect(),
            addresses: foreign.iter().map(|address| address.network.ip()).collect(),
            routed: routes().filter(|route| !route.is_default()).map(|route| route.destination).collect(),
            ipv6,
            interfaces: interfaces
                .map(|device| (device.name.clone(), Interface { mtu: device.mtu, mac: device.mac }))
                .collect(),
        };
        Probed { facts, not_ethernet: other.into_iter().map(|device| device.name.clone()).collect() }
    }
}

/// Of the main table first, then of those that rules lead to.
fn gateway6<'a>(routes: impl Iterator<Item = &'a RouteEntry>, device: u32) -> Option<Ipv6Addr> {
    let by_it = routes.filter(|route| route.is_default() && route.devices == [device]);
    let gateways = by_it.filter_map(|route| match route.gateway {
        Some(IpAddr::V6(gateway)) => Some(((!route.is_main(), route.table, route.metric), gateway)),
        Some(IpAddr::V4(_)) | None => None,
    });
    gateways.min().map(|(_, gateway)| gateway)
}

/// Not those that the kernel makes for each address (local, broadcast, anycast, multicast).
fn leads_away(kind: RouteType) -> bool {
    matches!(
        kind,
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, name: &str) -> Device {
        let veth = name.starts_with("nd");
        let ipv6 = Some(Ipv6Conf::default());
        Device { index, name: name.to_owned(), ethernet: name != "wg0", veth, mtu: 1500, ipv6, ..Device::default() }
    }

    fn address(index: u32, network: &str, ours: bool) -> Address {
        Address { index, network: network.parse().expect("a literal"), ours }
    }

    fn route(destination: &str, devices: &[u32], ours: bool) -> RouteEntry {
        RouteEntry {
            destination: destination.parse().expect("a literal"),
            kind: RouteType::Unicast,
            table: 254,
            ours,
            devices: devices.to_vec(),
            gateway: None,
            source: None,
            metric: 0,
        }
    }

    fn node(wanted: &[&str]) -> Probed {
        let devices = [
            device(1, "lo"),
            device(2, "eth0"),
            device(3, "eth1"),
            device(4, "wg0"),
            device(5, "nd1"),
            device(6, "eth2"),
        ];
        let addresses = [
            address(1, "127.0.0.1/8", false),
            address(1, "10.208.0.1/32", true),
            address(2, "198.18.0.5/24", false),
            address(3, "198.19.0.5/24", false),
            address(5, "fe80::1/64", false),
            address(1, "::1/128", false),
            address(1, "fd00::1/128", true),
            address(6, "2001:db8::5/64", false),
        ];
        let routes = [
            route("0.0.0.0/0", &[2, 4], false),
            RouteEntry { table: 100, ..route("0.0.0.0/0", &[3], false) },
            route("198.18.0.0/24", &[2], false),
            RouteEntry { kind: RouteType::Local, ..route("198.18.0.5/32", &[2], false) },
            RouteEntry { kind: RouteType::BlackHole, ..route("10.210.0.0/24", &[], false) },
            RouteEntry { kind: RouteType::Unreachable, ..route("10.208.0.0/24", &[], true) },
            route("10.208.0.2/32", &[5], true),
            route("fe80::/64", &[5], false),
            route("::/0", &[6], false),
            RouteEntry { kind: RouteType::Unreachable, ..route("::/0", &[1], false) },
            RouteEntry { kind: RouteType::Unreachable, ..route("fd00::/64", &[1], true) },
            route("fd00::2/128", &[5], true),
        ];
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        NodeFacts::from_kernel(&devices, &addresses, &routes, &wanted)
    }

    #[test]
    fn default_routes_of_all_tables_name_the_uplinks() {
        let probed = node(&[]);
        assert_eq!(probed.facts.uplinks.keys().collect::<Vec<_>>(), ["eth0", "eth1", "eth2"]);
        assert_eq!(
            probed.facts.uplinks["eth0"],
            Uplink { mtu: 1500, addresses: BTreeSet::from([IpAddr::from([198, 18, 0, 5])]), gateway6: None }
        );
        assert_eq!(probed.not_ethernet, BTreeSet::from(["wg0".to_owned()]));
    }

    #[test]
    fn an_uplink_is_left_by_the_gateway_of_its_best_default_route() {
        let by = |gateway: &str, table, metric| RouteEntry {
            gateway: Some(gateway.parse().expect("a literal")),
            table,
            metric,
            ..route("::/0", &[2], false)
        };
        let routes = [by("fe80::1", 100, 0), by("fe80::2", 254, 300), by("fe80::3", 254, 200)];
        let gateway = |routes: &[RouteEntry]| {
            let facts = NodeFacts::from_kernel(&[device(2, "eth0")], &[], routes, &[]).facts;
            facts.uplinks["eth0"].gateway6.map(|gateway| gateway.to_string())
        };
        assert_eq!(gateway(&routes).as_deref(), Some("fe80::3"));
        assert_eq!(gateway(&routes[..1]).as_deref(), Some("fe80::1"));
        assert_eq!(gateway(&[route("::/0", &[2], false)]), None);
    }

    #[test]
    fn named_uplinks_take_the_place_of_the_default_routes() {
        let probed = node(&["eth1"]);
        assert_eq!(probed.facts.uplinks.keys().collect::<Vec<_>>(), ["eth1"]);
        assert_eq!(probed.not_ethernet, BTreeSet::new());
    }

    #[test]
    fn nothing_of_netd_is_a_fact() {
        let facts = node(&[]).facts;
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1", "198.18.0.5", "198.19.0.5", "::1", "2001:db8::5"]);
        let routed: Vec<String> = facts.routed.iter().map(ToString::to_string).collect();
        assert_eq!(routed, ["10.210.0.0/24", "198.18.0.0/24"]);
    }

    #[test]
    fn the_loopback_device_tells_whether_there_is_ipv6() {
        let told = |ipv6| NodeFacts::from_kernel(&[Device { ipv6, ..device(1, "lo") }], &[], &[], &[]).facts.ipv6;
        assert_eq!(told(None), Ipv6::Absent);
        assert_eq!(told(Some(Ipv6Conf { disabled: true, ..Ipv6Conf::default() })), Ipv6::Disabled);
        assert_eq!(told(Some(Ipv6Conf::default())), Ipv6::Available);
    }
}
