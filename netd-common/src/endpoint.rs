//! Where is a container's interface, and what may it do?

use crate::Addr;

/// The container may not reach the outside, nor be reached from it (an internal network).
pub const INTERNAL: u32 = 1 << 0;
/// The container may not talk to its peers on the network (inter-container communication is off).
pub const ISOLATED: u32 = 1 << 1;
/// Packets to the outside keep their source address (masquerading is off).
pub const UNMASQUERADED: u32 = 1 << 2;

/// The container is a router: it may send what is from others.
pub const ROUTER: u32 = 1 << 3;

/// Key of `ENDPOINTS`: an address on a network.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    pub address: Addr,
    /// The network's number, from 1.
    pub network: u32,
}

/// Value of `ENDPOINTS`: who lives at that address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Interface index of the host side of the veth pair.
    pub ifindex: u32,
    /// The endpoint's number; never used twice, so that a flow of a former endpoint never fits a new one whose address
    /// or interface index is the same.
    pub endpoint: u32,
    /// [`INTERNAL`], [`ISOLATED`], [`UNMASQUERADED`], [`ROUTER`].
    pub flags: u32,
    /// MAC address of the container's interface.
    pub mac: [u8; 6],
    pub pad: [u8; 2],
}

/// Value of `PORTS_BY_IF`, keyed by interface index: what is plugged in at a host-side veth, and so what may come out
/// of it. This is the spoof guard's table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// The container's IPv4 address on this network, or none.
    pub ipv4: Addr,
    /// The container's IPv6 address on this network, or none.
    pub ipv6: Addr,
    /// The network's IPv4 gateway, or none.
    pub gateway4: Addr,
    /// The network's IPv6 gateway, or none.
    pub gateway6: Addr,
    pub network: u32,
    /// The endpoint's number, as in [`Endpoint`].
    pub endpoint: u32,
    /// As in [`Endpoint`].
    pub flags: u32,
    /// MAC address of the container's interface.
    pub mac: [u8; 6],
    /// MAC address that the network's gateway answers with.
    pub gateway_mac: [u8; 6],
    /// How many addresses of each family `SNAT_POOLS` holds for the network; 0: the uplink's address is taken.
    pub pool4: u16,
    pub pool6: u16,
}

impl Port {
    /// Whether an IPv6 address is the container's: the one it was given or, where it has one, its link-local one.
    #[inline(always)]
    #[must_use]
    pub fn has_ipv6(&self, address: &Addr) -> bool {
        !self.ipv6.is_none() && (*address == self.ipv6 || *address == Addr::link_local_of(self.mac))
    }
}

/// Key of `SNAT_POOLS`, whose value is an [`Addr`]: an address that the network's flows to the outside may take.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    pub network: u32,
    /// From 0, below `pool4` or `pool6` of [`Port`].
    pub index: u16,
    /// 4 or 6.
    pub family: u16,
}
