//! Which published ports and which sockets of the host are in each other's way?
//!
//! As `bind` has it: the same port of two addresses is two ports, and every address of a family overlaps each of them.

use crate::model::command::{Context, HostSocket};
use crate::model::refusal::Refusal;
use crate::model::state::{Protocol, Publish, PublishKey, State};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where packets are taken: of each family at one address, at every one (the unspecified), or at none.
#[derive(Clone, Copy, Debug)]
struct Reach {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

impl Reach {
    const fn at(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self { v4: Some(address), v6: None },
            IpAddr::V6(_) => Self { v4: None, v6: Some(address) },
        }
    }

    const fn of_publish(host_ip: IpAddr, ipv6: bool) -> Self {
        let at = Self::at(host_ip);
        if ipv6 { Self { v6: Some(ANY_V6), ..at } } else { at }
    }

    fn of_socket(socket: &HostSocket) -> Self {
        // An IPv6 socket may be there for IPv4 too: at `::`, or at a v4-mapped address.
        let at = Self::at(socket.address.to_canonical());
        if at.v6 == Some(ANY_V6) && !socket.ipv6_only { Self { v4: Some(ANY_V4), ..at } } else { at }
    }

    fn pairs(self, other: Self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        [self.v4.zip(other.v4), self.v6.zip(other.v6)].into_iter().flatten()
    }

    /// Whether there is an address at which both take packets.
    fn meets(self, other: Self) -> bool {
        self.pairs(other).any(|(own, their)| own == their || own.is_unspecified() || their.is_unspecified())
    }

    /// Whether both say the same of an address, so that neither is the more exact one.
    fn equals(self, other: Self) -> bool {
        self.pairs(other).any(|(own, their)| own == their)
    }
}

impl State {
    /// Whether a port can be published so. A container may overlap itself; the exact address then wins.
    pub(super) fn check(&self, key: &PublishKey, publish: &Publish, context: &Context) -> Result<(), Refusal> {
        let PublishKey { host_ip, protocol, host_port } = *key;
        let reach = Reach::of_publish(host_ip, publish.ipv6);
        for existing_ip in self.published_addresses() {
            let Some(existing) = self.publishes.get(&PublishKey { host_ip: existing_ip, ..*key }) else { continue };
            let theirs = Reach::of_publish(existing_ip, existing.ipv6);
            let is_in_the_way = if existing.container == publish.container {
                // The very same port cannot lead to two ports.
                reach.equals(theirs) && existing.container_port != publish.container_port
            } else {
                reach.meets(theirs)
            };
            if is_in_the_way {
                let container = existing.container.clone();
                return Err(Refusal::PortPublished { host_ip, host_port, protocol, container, existing_ip });
            }
        }
        let bound = |address, inode, ipv6_only| HostSocket { protocol, port: host_port, address, inode, ipv6_only };
        let first = bound(ANY_V4, u32::MIN, false);
        let last = bound(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)), u32::MAX, true);
        let mut sockets = context.host_sockets.range(first..=last);
        match sockets.find(|socket| reach.meets(Reach::of_socket(socket))) {
            Some(&HostSocket { address, inode, .. }) => {
                Err(Refusal::PortBound { host_ip, host_port, protocol, address, inode, process: None })
            }
            None => Ok(()),
        }
    }

    /// The addresses at which anything is published: few, and found by skipping from one to the next.
    fn published_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        let mut next = self.publishes.first_key_value();
        while let Some((&PublishKey { host_ip, .. }, _)) = next {
            addresses.push(host_ip);
            let last = PublishKey { host_ip, protocol: Protocol::Sctp, host_port: u16::MAX };
            let behind = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            next = self.publishes.range(behind).next();
        }
        addresses
    }
}
