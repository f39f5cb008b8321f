//! On which host do all the rows play?
//!
//! Its interfaces, networks and containers are [`super::hosts`]'. The same addresses and interface indexes are made of real
//! interfaces when the rows are played in the kernel, so nothing here may differ from row to row but what the maps hold,
//! which sockets are open, and whether the uplink forwards.

pub use super::hosts::*;
use super::hosts::{ula, v6};
use super::model::{Bytes, Knowledge, Model, Reach, Socket};
use netd_common::Addr;
use netd_common::drop::Hook;
use netd_common::endpoint::{Endpoint, EndpointKey};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::publish::{Publish, PublishKey, UDP};
use std::cell::Cell;

/// `SO_NETNS_COOKIE` of the host.
pub const COOKIE: u64 = 77;
/// When the rows start.
const START_NS: u64 = 1_000_000_000_000_000;
/// The source port that a flow gets first when it cannot keep its own, with the model's randomness.
pub const MOVED: u16 = 33280;
const RANDOM: u32 = 0x8000_0000;

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
        let local = [HOST, LAN_HOST, WEB.gateway, API.gateway, Addr::v4([127, 0, 0, 1])];
        let local_6 = [HOST_6, LAN_HOST_6, WEB.gateway_6, API.gateway_6, Addr::LOOPBACK_V6];
        world.model.local = local.into_iter().chain(local_6).collect();
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
fn routes() -> Vec<(Addr, u32, Reach)> {
    let v4 = |address, len: u32, reach| (Addr::v4(address), 96 + len, reach);
    let mut routes = vec![
        v4([0, 0, 0, 0], 0, Reach::Via(UPLINK, HOST)),
        v4([198, 18, 0, 0], 24, Reach::Via(UPLINK, HOST)),
        v4([198, 19, 0, 0], 24, Reach::Via(LAN, LAN_HOST)),
        v4([10, 1, 0, 0], 24, Reach::Unreachable),
        v4([10, 2, 0, 0], 24, Reach::Unreachable),
        v4([127, 0, 0, 0], 8, Reach::Local),
        (Addr::ANY_V6, 0, Reach::Via(UPLINK, HOST_6)),
        (v6(0x19, 0), 64, Reach::Via(LAN, LAN_HOST_6)),
        (ula(1, 0), 64, Reach::Unreachable),
        (ula(2, 0), 64, Reach::Unreachable),
    ];
    let broadcast = [[198, 18, 0, 255], [198, 19, 0, 255]].map(Addr::v4);
    let local = [HOST, LAN_HOST, WEB.gateway, API.gateway];
    let local_6 = [HOST_6, LAN_HOST_6, WEB.gateway_6, API.gateway_6, Addr::LOOPBACK_V6];
    routes.extend(local.into_iter().chain(local_6).chain(broadcast).map(|address| (address, 128, Reach::Local)));
    for to in CONTAINERS {
        routes.push((to.address, 128, Reach::Via(to.ifindex, to.gateway)));
        routes.push((to.address_6, 128, Reach::Via(to.ifindex, to.gateway_6)));
    }
    routes
}

impl World {
    /// Puts a container into the maps, with the flags of its network.
    pub fn plug(&mut self, container: &Container, flags: u32) {
        let Container { ifindex, endpoint, network, .. } = *container;
        let mac = container.mac();
        self.model.ports.insert(ifindex, container.port(flags));
        for address in container.addresses() {
            let value = Endpoint { ifindex, endpoint, flags, mac, pad: [0; 2] };
            self.model.endpoints.insert(EndpointKey { address, network }, value);
        }
        self.model.fdb.insert(FdbKey { network, mac, pad: [0; 2] }, FdbEntry { ifindex, flags });
    }

    /// Takes a container out of the maps.
    pub fn unplug(&mut self, container: &Container) {
        let Container { ifindex, network, .. } = *container;
        self.model.ports.remove(&ifindex);
        for address in container.addresses() {
            self.model.endpoints.remove(&EndpointKey { address, network });
        }
        self.model.fdb.remove(&FdbKey { network, mac: container.mac(), pad: [0; 2] });
    }

    /// Sets the flags of both containers' network.
    pub fn flags(&mut self, flags: u32) {
        for container in [WEB, DB] {
            self.plug(&container, flags);
        }
    }

    /// Publishes a container's port: its address of the same family answers.
    pub fn publish(&mut self, protocol: u8, address: impl Into<Addr>, port: u16, container: &Container, to_port: u16) {
        let address = address.into();
        self.publish_at(protocol, (address, port), container, (container.own(&address), to_port));
    }

    /// Publishes a port of one of a container's addresses.
    pub fn publish_at(&mut self, protocol: u8, at: (Addr, u16), container: &Container, to: (Addr, u16)) {
        let key = PublishKey { address: at.0, port: at.1, protocol, pad: 0 };
        let Container { network, endpoint, .. } = *container;
        let publish = Publish { address: to.0, network, endpoint, allow: 0, port: to.1, pad: [0; 2] };
        self.model.publishes.insert(key, publish);
    }

    /// Opens what is published to these prefixes alone.
    pub fn allow(&mut self, list: u32, prefixes: &[(Addr, u32)]) {
        self.model
            .allowed
            .extend(prefixes.iter().map(|(prefix, len)| (list, *prefix, if prefix.is_v4() { 96 + len } else { *len })));
        for publish in self.model.publishes.values_mut() {
            publish.allow = list;
        }
    }

    /// Opens a socket of the host to any peer.
    pub fn listen(&mut self, protocol: u8, address: impl Into<Addr>, port: u16) {
        self.stack.sockets.insert(Socket { protocol, address: address.into(), port, peer: None });
    }

    /// Opens a UDP socket of the host to one peer.
    pub fn connect(&mut self, address: Addr, port: u16, peer: Addr, peer_port: u16) {
        self.stack.sockets.insert(Socket { protocol: UDP, address, port, peer: Some((peer, peer_port)) });
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
            copies: Vec::new(),
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
