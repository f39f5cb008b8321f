//! Who is on the host that all rows play on, and around it?
//!
//! One uplink, one interface that is none, two networks with containers, and in either family the same.

use super::packet::Ip;
use netd_common::Addr;
use netd_common::endpoint::Port;
use netd_common::globals::{HAIRPIN_V4, HAIRPIN_V6};

/// The uplink's interface index, its MAC and IPv4 address. Indexes below a hundred may be taken by devices that every
/// namespace has.
pub const UPLINK: u32 = 102;
pub const UPLINK_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
pub const HOST: Addr = Addr::v4([198, 18, 0, 1]);
/// The next hop behind the uplink, and hosts behind that.
pub const ROUTER: Addr = Addr::v4([198, 18, 0, 254]);
pub const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];
pub const REMOTE: Addr = Addr::v4([198, 18, 1, 9]);
pub const REMOTE_2: Addr = Addr::v4([198, 18, 1, 10]);
/// The same in IPv6.
pub const HOST_6: Addr = v6(0x18, 1);
pub const ROUTER_6: Addr = v6(0x18, 0xfe);
pub const REMOTE_6: Addr = v6(0x181, 9);
pub const REMOTE_2_6: Addr = v6(0x181, 10);
/// An interface that is no uplink, the host's address there and a neighbour's.
pub const LAN: u32 = 103;
pub const LAN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 3];
pub const LAN_HOST: Addr = Addr::v4([198, 19, 0, 1]);
pub const LAN_REMOTE: Addr = Addr::v4([198, 19, 0, 9]);
pub const LAN_HOST_6: Addr = v6(0x19, 1);
pub const LAN_REMOTE_6: Addr = v6(0x19, 9);

/// `2001:db8:NETWORK::HOST`.
pub(super) const fn v6(network: u16, host: u8) -> Addr {
    let [high, low] = network.to_be_bytes();
    Addr::v6([0x20, 1, 0xd, 0xb8, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, host])
}

/// `fd00:NETWORK::HOST`.
pub(super) const fn ula(network: u8, host: u8) -> Addr {
    Addr::v6([0xfd, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host])
}

/// Who is who in one family: rows that mean the same in both are written once.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// As a publish key has it.
    pub any: Addr,
    pub host: Addr,
    pub lan_host: Addr,
    pub lan_remote: Addr,
    pub remote: Addr,
    pub remote_2: Addr,
    pub router: Addr,
    /// On the first network, and nobody's.
    pub absent: Addr,
    /// Behind the default route, and nobody known.
    pub stranger: Addr,
    pub loopback: Addr,
    /// Of all hosts on the link.
    pub group: Addr,
    pub hairpin: Addr,
    /// An ICMP message for "port unreachable", "time exceeded" and one that is neither an error nor an echo.
    pub port_unreachable: (u8, u8),
    pub time_exceeded: (u8, u8),
    pub odd_message: u8,
    /// Of an address.
    pub bits: u32,
}

impl Who {
    pub const V4: Self = Self {
        any: Addr::ANY_V4,
        host: HOST,
        lan_host: LAN_HOST,
        lan_remote: LAN_REMOTE,
        remote: REMOTE,
        remote_2: REMOTE_2,
        router: ROUTER,
        absent: ABSENT,
        stranger: Addr::v4([203, 0, 113, 1]),
        loopback: Addr::v4([127, 0, 0, 1]),
        group: Addr::v4([224, 0, 0, 1]),
        hairpin: HAIRPIN_V4,
        port_unreachable: (3, 3),
        time_exceeded: (11, 0),
        odd_message: 13,
        bits: 32,
    };
    pub const V6: Self = Self {
        any: Addr::ANY_V6,
        host: HOST_6,
        lan_host: LAN_HOST_6,
        lan_remote: LAN_REMOTE_6,
        remote: REMOTE_6,
        remote_2: REMOTE_2_6,
        router: ROUTER_6,
        absent: ABSENT_6,
        stranger: v6(0x999, 1),
        loopback: Addr::LOOPBACK_V6,
        group: Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        hairpin: HAIRPIN_V6,
        port_unreachable: (1, 4),
        time_exceeded: (3, 0),
        odd_message: 130,
        bits: 128,
    };

    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.host.is_v4()
    }

    /// A container's address.
    #[must_use]
    pub const fn of(&self, container: &Container) -> Addr {
        container.own(&self.host)
    }

    /// Its gateway's.
    #[must_use]
    pub const fn gateway(&self, of: &Container) -> Addr {
        if self.is_v4() { of.gateway } else { of.gateway_6 }
    }
}

/// A container on a network.
#[derive(Clone, Copy, Debug)]
pub struct Container {
    pub ifindex: u32,
    pub endpoint: u32,
    pub network: u32,
    pub address: Addr,
    pub gateway: Addr,
    pub address_6: Addr,
    pub gateway_6: Addr,
}

pub const WEB: Container = Container {
    ifindex: 111,
    endpoint: 1,
    network: 1,
    address: Addr::v4([10, 1, 0, 2]),
    gateway: Addr::v4([10, 1, 0, 1]),
    address_6: ula(1, 2),
    gateway_6: ula(1, 1),
};
pub const DB: Container =
    Container { ifindex: 112, endpoint: 2, address: Addr::v4([10, 1, 0, 3]), address_6: ula(1, 3), ..WEB };
pub const API: Container = Container {
    ifindex: 113,
    endpoint: 3,
    network: 2,
    address: Addr::v4([10, 2, 0, 2]),
    gateway: Addr::v4([10, 2, 0, 1]),
    address_6: ula(2, 2),
    gateway_6: ula(2, 1),
};
pub const CONTAINERS: [Container; 3] = [WEB, DB, API];
/// On the first network, and nobody's.
pub const ABSENT: Addr = Addr::v4([10, 1, 0, 99]);
pub const ABSENT_6: Addr = ula(1, 99);

impl Container {
    #[must_use]
    pub const fn mac(&self) -> [u8; 6] {
        mac_of(self.address)
    }

    #[must_use]
    pub const fn gateway_mac(&self) -> [u8; 6] {
        mac_of(self.gateway)
    }

    /// The address of the family of `with`.
    pub(super) const fn own(&self, with: &Addr) -> Addr {
        if with.is_v4() { self.address } else { self.address_6 }
    }

    /// A packet of this container that goes by the gateway.
    #[must_use]
    pub fn to(&self, to: impl Into<Addr>) -> Ip {
        let to = to.into();
        Ip { from_mac: self.mac(), to_mac: self.gateway_mac(), from: self.own(&to), to, ..Ip::default() }
    }

    /// A packet for a peer, by its address of one family, that goes straight.
    #[must_use]
    pub fn to_peer(&self, peer: &Self, who: &Who) -> Ip {
        Ip { to_mac: peer.mac(), ..self.to(who.of(peer)) }
    }

    /// A packet that reaches this container by its gateway; its time to live is that of [`from_wire`].
    #[must_use]
    pub fn gets(&self, from: impl Into<Addr>) -> Ip {
        let from = from.into();
        Ip { from_mac: self.gateway_mac(), to_mac: self.mac(), from, to: self.own(&from), ttl: 60, ..Ip::default() }
    }

    /// A neighbour solicitation (RFC 4861 section 4.3), from one of its addresses or, to see whether the target is free, from
    /// none.
    #[must_use]
    pub fn asks_for(&self, from: Addr, target: Addr, has_option: bool) -> Vec<u8> {
        let [.., a, b, c] = target.bytes;
        let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
        let to_mac = [0x33, 0x33, 0xff, a, b, c];
        let ip = Ip { from_mac: self.mac(), to_mac, from, to: Addr::v6(group), ttl: 255, ..Ip::default() };
        let mut body = target.bytes.to_vec();
        if has_option {
            body.extend([1, 1]);
            body.extend(self.mac());
        }
        ip.message(135, 0, [0; 4], &body)
    }

    /// What it is told: that `mac` has the target. `flags` are router, solicited and override.
    #[must_use]
    pub fn is_told(&self, to: Addr, target: Addr, mac: [u8; 6], flags: u8) -> Vec<u8> {
        let (to_mac, to) = if to.is_none() {
            ([0x33, 0x33, 0, 0, 0, 1], Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))
        } else {
            (self.mac(), to)
        };
        let ip = Ip { from_mac: mac, to_mac, from: target, to, ttl: 255, ..Ip::default() };
        let mut body = target.bytes.to_vec();
        body.extend([2, 1]);
        body.extend(mac);
        ip.message(136, 0, [flags, 0, 0, 0], &body)
    }

    /// All that it answers to.
    #[must_use]
    pub const fn addresses(&self) -> [Addr; 3] {
        [self.address, self.address_6, Addr::link_local_of(self.mac())]
    }

    pub(super) const fn port(&self, flags: u32) -> Port {
        Port {
            ipv4: self.address,
            ipv6: self.address_6,
            gateway4: self.gateway,
            gateway6: self.gateway_6,
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
pub const fn mac_of(address: Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets_v4();
    [0x02, 0x42, a, b, c, d]
}

/// A packet that comes by the uplink.
#[must_use]
pub fn from_wire(from: impl Into<Addr>, to: impl Into<Addr>) -> Ip {
    Ip { from_mac: ROUTER_MAC, to_mac: UPLINK_MAC, from: from.into(), to: to.into(), ttl: 60, ..Ip::default() }
}

/// A packet that the host itself sends out of the uplink.
#[must_use]
pub fn from_host(to: impl Into<Addr>) -> Ip {
    let to = to.into();
    let from = if to.is_v4() { HOST } else { HOST_6 };
    Ip { from_mac: UPLINK_MAC, to_mac: ROUTER_MAC, from, to, ..Ip::default() }
}
