//! On which host do all the rows play?
//!
//! One uplink, one interface that is none, two networks. The same addresses and interface indexes are made of real
//! interfaces when the rows are played in the kernel, so nothing here may differ from row to row but what the maps hold,
//! which sockets are open, and whether the uplink forwards.

use super::model::{Bytes, Knowledge, Model, Reach, Socket};
use super::packet::Ip;
use netd_common::Addr;
use netd_common::drop::Hook;
use netd_common::endpoint::{Endpoint, EndpointKey, Port};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::publish::{Publish, PublishKey, UDP};
use std::cell::Cell;

/// The uplink's interface index, its MAC and IPv4 address. Indexes below a hundred may be taken by devices that every
/// namespace has.
pub const UPLINK: u32 = 102;
pub const UPLINK_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
pub const HOST: [u8; 4] = [198, 18, 0, 1];
/// The next hop behind the uplink, and hosts behind that.
pub const ROUTER: [u8; 4] = [198, 18, 0, 254];
pub const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];
pub const REMOTE: [u8; 4] = [198, 18, 1, 9];
pub const REMOTE_2: [u8; 4] = [198, 18, 1, 10];
/// An interface that is no uplink, the host's address there and a neighbour's.
pub const LAN: u32 = 103;
pub const LAN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 3];
pub const LAN_HOST: [u8; 4] = [198, 19, 0, 1];
pub const LAN_REMOTE: [u8; 4] = [198, 19, 0, 9];

/// A container on a network.
#[derive(Clone, Copy, Debug)]
pub struct Container {
    pub ifindex: u32,
    pub endpoint: u32,
    pub network: u32,
    pub address: [u8; 4],
    pub gateway: [u8; 4],
}

pub const WEB: Container =
    Container { ifindex: 111, endpoint: 1, network: 1, address: [10, 1, 0, 2], gateway: [10, 1, 0, 1] };
pub const DB: Container = Container { ifindex: 112, endpoint: 2, address: [10, 1, 0, 3], ..WEB };
pub const API: Container =
    Container { ifindex: 113, endpoint: 3, network: 2, address: [10, 2, 0, 2], gateway: [10, 2, 0, 1] };
pub const CONTAINERS: [Container; 3] = [WEB, DB, API];
/// On the first network, and nobody's.
pub const ABSENT: [u8; 4] = [10, 1, 0, 99];

/// `SO_NETNS_COOKIE` of the host.
pub const COOKIE: u64 = 77;
/// When the rows start.
const START_NS: u64 = 1_000_000_000_000_000;
/// The source port that a flow gets first when it cannot keep its own, with the model's randomness.
pub const MOVED: u16 = 33280;
const RANDOM: u32 = 0x8000_0000;

impl Container {
    #[must_use]
    pub const fn mac(&self) -> [u8; 6] {
        mac_of(self.address)
    }

    #[must_use]
    pub const fn gateway_mac(&self) -> [u8; 6] {
        mac_of(self.gateway)
    }

    #[must_use]
    pub const fn addr(&self) -> Addr {
        Addr::v4(self.address)
    }

    /// A packet of this container that goes by the gateway.
    #[must_use]
    pub fn to(&self, to: [u8; 4]) -> Ip {
        Ip { from_mac: self.mac(), to_mac: self.gateway_mac(), from: self.address, to, ..Ip::default() }
    }

    /// A packet for a peer that goes straight.
    #[must_use]
    pub fn to_peer(&self, peer: &Self) -> Ip {
        Ip { to_mac: peer.mac(), ..self.to(peer.address) }
    }

    /// A packet that reaches this container by its gateway; its time to live is that of [`from_wire`].
    #[must_use]
    pub fn gets(&self, from: [u8; 4]) -> Ip {
        Ip { from_mac: self.gateway_mac(), to_mac: self.mac(), from, to: self.address, ttl: 60, ..Ip::default() }
    }

    const fn port(&self, flags: u32) -> Port {
        Port {
            ipv4: self.addr(),
            ipv6: Addr::NONE,
            gateway4: Addr::v4(self.gateway),
            gateway6: Addr::NONE,
            network: self.network,
            endpoint: self.endpoint,
            flags,
            mac: self.mac(),
            gateway_mac: self.gateway_mac(),
            pool4: 0,
            pool6: 0,
        }
    }
}

/// MAC addresses of containers and gateways hold their IPv4 address.
#[must_use]
pub const fn mac_of([a, b, c, d]: [u8; 4]) -> [u8; 6] {
    [0x02, 0x42, a, b, c, d]
}

/// A packet that comes by the uplink.
#[must_use]
pub fn from_wire(from: [u8; 4], to: [u8; 4]) -> Ip {
    Ip { from_mac: ROUTER_MAC, to_mac: UPLINK_MAC, from, to, ttl: 60, ..Ip::default() }
}

/// A packet that the host itself sends out of the uplink.
#[must_use]
pub fn from_host(to: [u8; 4]) -> Ip {
    Ip { from_mac: UPLINK_MAC, to_mac: ROUTER_MAC, from: HOST, to, ..Ip::default() }
}

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Out of a container, by this host-side interface.
    Container(u32),
    Wire,
    Host,
    /// Out of the uplink, forwarded by the host for others.
    Forwarded,
}

impl Source {
    #[must_use]
    pub const fn hook(self) -> Hook {
        match self {
            Self::Container(_) => Hook::ContainerEgress,
            Self::Wire => Hook::UplinkIngress,
            Self::Host | Self::Forwarded => Hook::UplinkEgress,
        }
    }

    #[must_use]
    pub const fn ifindex(self) -> u32 {
        match self {
            Self::Container(ifindex) => ifindex,
            Self::Wire | Self::Host | Self::Forwarded => UPLINK,
        }
    }
}

/// The maps and the stack.
#[derive(Debug)]
pub struct World {
    pub model: Model,
    pub stack: Knowledge,
}

impl Default for World {
    fn default() -> Self {
        let mut world = Self {
            model: Model { netns_cookie: COOKIE, ..Model::default() },
            stack: Knowledge { now_ns: START_NS, random: RANDOM, ..Knowledge::default() },
        };
        let local = [HOST, LAN_HOST, WEB.gateway, API.gateway, [127, 0, 0, 1]];
        world.model.local = local.map(Addr::v4).into();
        world.model.uplinks = [UPLINK].into();
        world.stack.routes = routes();
        for container in CONTAINERS {
            world.plug(&container, 0);
            world.stack.forwarding.insert(container.ifindex);
        }
        world
    }
}

/// What the kernel's tables hold when the interfaces are made and netd has run.
fn routes() -> Vec<([u8; 4], u8, Reach)> {
    let mut routes = vec![
        ([0, 0, 0, 0], 0, Reach::Via(UPLINK, HOST)),
        ([198, 18, 0, 0], 24, Reach::Via(UPLINK, HOST)),
        ([198, 19, 0, 0], 24, Reach::Via(LAN, LAN_HOST)),
        ([10, 1, 0, 0], 24, Reach::Unreachable),
        ([10, 2, 0, 0], 24, Reach::Unreachable),
        ([127, 0, 0, 0], 8, Reach::Local),
    ];
    let broadcast = [[198, 18, 0, 255], [198, 19, 0, 255]];
    let local = [HOST, LAN_HOST, WEB.gateway, API.gateway].into_iter().chain(broadcast);
    routes.extend(local.map(|address| (address, 32, Reach::Local)));
    routes.extend(CONTAINERS.map(|to| (to.address, 32, Reach::Via(to.ifindex, to.gateway))));
    routes
}

impl World {
    /// Puts a container into the maps, with the flags of its network.
    pub fn plug(&mut self, container: &Container, flags: u32) {
        let Container { ifindex, endpoint, network, .. } = *container;
        let mac = container.mac();
        let key = EndpointKey { address: container.addr(), network };
        self.model.ports.insert(ifindex, container.port(flags));
        self.model.endpoints.insert(key, Endpoint { ifindex, endpoint, flags, mac, pad: [0; 2] });
        self.model.fdb.insert(FdbKey { network, mac, pad: [0; 2] }, FdbEntry { ifindex, flags });
    }

    /// Takes a container out of the maps.
    pub fn unplug(&mut self, container: &Container) {
        let Container { ifindex, network, .. } = *container;
        self.model.ports.remove(&ifindex);
        self.model.endpoints.remove(&EndpointKey { address: container.addr(), network });
        self.model.fdb.remove(&FdbKey { network, mac: container.mac(), pad: [0; 2] });
    }

    /// Sets the flags of both containers' network.
    pub fn flags(&mut self, flags: u32) {
        for container in [WEB, DB] {
            self.plug(&container, flags);
        }
    }

    /// Publishes a container's port.
    pub fn publish(&mut self, protocol: u8, address: [u8; 4], port: u16, container: &Container, to_port: u16) {
        let key = PublishKey { address: Addr::v4(address), port, protocol, pad: 0 };
        let Container { network, endpoint, .. } = *container;
        let publish = Publish { address: container.addr(), network, endpoint, allow: 0, port: to_port, pad: [0; 2] };
        self.model.publishes.insert(key, publish);
    }

    /// Opens what is published to these prefixes alone, IPv4.
    pub fn allow(&mut self, list: u32, prefixes: &[([u8; 4], u32)]) {
        self.model.allowed.extend(prefixes.iter().map(|(prefix, len)| (list, Addr::v4(*prefix), 96 + len)));
        for publish in self.model.publishes.values_mut() {
            publish.allow = list;
        }
    }

    /// Opens a socket of the host to any peer.
    pub fn listen(&mut self, protocol: u8, address: [u8; 4], port: u16) {
        self.stack.sockets.insert(Socket { protocol, address: Addr::v4(address), port, peer: None });
    }

    /// Opens a UDP socket of the host to one peer.
    pub fn connect(&mut self, address: [u8; 4], port: u16, peer: [u8; 4], peer_port: u16) {
        let peer = Some((Addr::v4(peer), peer_port));
        self.stack.sockets.insert(Socket { protocol: UDP, address: Addr::v4(address), port, peer });
    }

    /// A frame as the hook sees it.
    #[must_use]
    pub fn frame(&self, source: Source, bytes: Vec<u8>) -> Bytes {
        let ifindex = source.ifindex();
        let own_mac = self.device_mac(ifindex);
        Bytes {
            ifindex,
            is_from_host: source == Source::Host,
            // As the kernel decides it for every frame that comes in.
            is_for_host: bytes.get(..6).is_some_and(|destination| destination == own_mac),
            has_vlan_tag: false,
            stack: self.stack.clone(),
            draws: Cell::new(0),
            bytes,
        }
    }

    /// The MAC address of the host's interface.
    #[must_use]
    pub fn device_mac(&self, ifindex: u32) -> [u8; 6] {
        if ifindex == UPLINK {
            return UPLINK_MAC;
        }
        CONTAINERS.iter().find(|of| of.ifindex == ifindex).map_or(LAN_MAC, Container::gateway_mac)
    }
}
