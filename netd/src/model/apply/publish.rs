//! When does a port of the host lead to a container?

use super::Effect;
use crate::model::command::{Context, HostSocket, Unpublish};
use crate::model::port_map::PortMap;
use crate::model::refusal::Refusal;
use crate::model::state::{Protocol, Publish, PublishKey, State};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Where netd picks ports: the dynamic ones (RFC 6335 section 6) first, then the registered ones.
const PICKED: [RangeInclusive<u16>; 2] = [49_152..=65_535, 1_024..=49_151];

impl State {
    pub(super) fn publish(&mut self, name: &str, maps: &[PortMap], context: &Context) -> Result<Effect, Refusal> {
        let container = self.container(name)?;
        if maps.is_empty() {
            return Ok(Effect::Unchanged);
        }
        container.published_endpoint(self)?;
        let mut effect = Effect::Unchanged;
        // Those with a port first, so that no picked port takes theirs.
        let (named, picked): (Vec<_>, Vec<_>) = maps.iter().partition(|map| map.host_port.is_some());
        for map in named.into_iter().chain(picked) {
            let host_ip = self.host_ip(map, context)?;
            let mut picker = PICKED.into_iter().flatten();
            for (host_port, container_port) in map.pairs() {
                let publish = Publish { container: name.to_owned(), container_port };
                let key = |host_port| PublishKey { host_ip, protocol: map.protocol, host_port };
                let free =
                    |key: &PublishKey| !self.publishes.contains_key(key) && self.check(key, name, context).is_ok();
                let key = match host_port {
                    Some(host_port) => key(host_port),
                    None => picker
                        .by_ref()
                        .map(key)
                        .find(free)
                        .ok_or(Refusal::NoFreePort { host_ip, protocol: map.protocol })?,
                };
                if self.publishes.get(&key) == Some(&publish) {
                    continue;
                }
                self.check(&key, name, context)?;
                self.publishes.insert(key, publish);
                effect = Effect::Changed;
            }
        }
        Ok(effect)
    }

    pub(super) fn unpublish(&mut self, name: &str, ports: &Unpublish) -> Result<Effect, Refusal> {
        self.container(name)?;
        let before = self.publishes.len();
        match ports {
            Unpublish::All => self.publishes.retain(|_, publish| publish.container != name),
            Unpublish::Ports(maps) => {
                // Looked up before any is removed, so that one named twice is no error.
                let mut gone = BTreeSet::new();
                for map in maps {
                    gone.extend(self.published(name, map)?);
                }
                self.publishes.retain(|key, _| !gone.contains(key));
            }
        }
        Ok(if self.publishes.len() == before { Effect::Unchanged } else { Effect::Changed })
    }

    /// The keys that a map means. Without a port of the host: all that lead to the container's port.
    fn published(&self, name: &str, map: &PortMap) -> Result<Vec<PublishKey>, Refusal> {
        let host_ip = map.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut keys = Vec::new();
        for (host_port, container_port) in map.pairs() {
            let before = keys.len();
            let publish = Publish { container: name.to_owned(), container_port };
            match host_port {
                Some(host_port) => {
                    let key = PublishKey { host_ip, protocol: map.protocol, host_port };
                    keys.extend(self.publishes.get(&key).filter(|&found| *found == publish).map(|_| key));
                }
                None => keys.extend(
                    self.publishes
                        .iter()
                        .filter(|&(key, found)| {
                            *found == publish && key.protocol == map.protocol && key.host_ip == host_ip
                        })
                        .map(|(key, _)| *key),
                ),
            }
            if keys.len() == before {
                let one = PortMap { host_port, container_port, count: 1, ..map.clone() };
                let ours = self.publishes.iter().filter(|(_, publish)| publish.container == name);
                let has = ours.map(|(key, publish)| key.map_to(publish.container_port).to_string()).collect();
                return Err(Refusal::NotPublished { container: name.to_owned(), port: one.to_string(), has });
            }
        }
        Ok(keys)
    }

    /// The address of the host that a map names.
    fn host_ip(&self, map: &PortMap, context: &Context) -> Result<IpAddr, Refusal> {
        match map.protocol {
            Protocol::Tcp | Protocol::Udp => {}
            Protocol::Sctp => {
                let why = "the datapath does not translate SCTP; publish tcp or udp";
                return Err(Refusal::Unsupported { what: format!("publishing {map}"), why });
            }
        }
        let address = match map.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => return Err(Refusal::Ipv6Unsupported { what: format!("publishing {map}") }),
        };
        let ip = IpAddr::V4(address);
        let is_gateway =
            || self.networks.values().flat_map(|network| &network.subnets).any(|subnet| subnet.gateway == ip);
        if address.is_unspecified() || address.is_loopback() || context.facts.addresses.contains(&ip) || is_gateway() {
            return Ok(ip);
        }
        let has = context.facts.addresses.iter().copied().filter(IpAddr::is_ipv4).collect();
        Err(Refusal::NotHostAddress { address: ip, has })
    }

    /// Whether a port can be published for `container`, with what `bind` would say: the same port of two addresses is
    /// two ports, and the wildcard overlaps all. A container may overlap itself; the exact address then wins.
    fn check(&self, key: &PublishKey, container: &str, context: &Context) -> Result<(), Refusal> {
        let PublishKey { host_ip, protocol, host_port } = *key;
        if let Some((existing, publish)) = self.overlapping(key).find(|(existing, publish)| {
            // The very same port cannot lead to two ports, even of one container.
            publish.container != container || *existing == *key
        }) {
            let container = publish.container.clone();
            return Err(Refusal::PortPublished {
                host_ip,
                host_port,
                protocol,
                container,
                existing_ip: existing.host_ip,
            });
        }
        let bound = |address, inode| HostSocket { protocol, port: host_port, address, inode };
        let first = bound(IpAddr::V4(Ipv4Addr::UNSPECIFIED), u32::MIN);
        let last = bound(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)), u32::MAX);
        match context.host_sockets.range(first..=last).find(|socket| overlaps(host_ip, socket.address)) {
            Some(&HostSocket { address, inode, .. }) => {
                Err(Refusal::PortBound { host_ip, host_port, protocol, address, inode, process: None })
            }
            None => Ok(()),
        }
    }

    /// What is published at the same port of an address that overlaps.
    fn overlapping(&self, key: &PublishKey) -> impl Iterator<Item = (PublishKey, &Publish)> {
        let addresses = if key.host_ip.is_unspecified() {
            self.published_addresses()
        } else {
            vec![key.host_ip, IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
        };
        let key = *key;
        addresses.into_iter().filter_map(move |host_ip| {
            let existing = PublishKey { host_ip, ..key };
            self.publishes.get(&existing).map(|publish| (existing, publish))
        })
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

/// Whether a socket bound to `socket` takes packets that a publish on `host_ip` would take.
fn overlaps(host_ip: IpAddr, socket: IpAddr) -> bool {
    // An IPv6 socket may be there for IPv4 too: `::`, or a v4-mapped address.
    let socket = socket.to_canonical();
    host_ip.is_unspecified() || socket.is_unspecified() || host_ip == socket
}

impl PublishKey {
    /// The port map that says the same.
    #[must_use]
    pub fn map_to(&self, container_port: u16) -> PortMap {
        PortMap {
            host_ip: Some(self.host_ip).filter(|ip| *ip != IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            host_port: Some(self.host_port),
            container_port,
            count: 1,
            protocol: self.protocol,
        }
    }
}
