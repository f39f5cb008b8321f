//! When does a port of the host lead to a container?

use super::{Effect, take_number};
use crate::model::command::{Context, Unpublish};
use crate::model::family::Family;
use crate::model::port_map::PortMap;
use crate::model::prefix::Prefix;
use crate::model::refusal::{Kind, Refusal};
use crate::model::state::{Container, Endpoint, Mode, Protocol, Publish, PublishKey, State};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Where netd picks ports: the dynamic ones (RFC 6335 section 6) first, then the registered ones.
const PICKED: [RangeInclusive<u16>; 2] = [49_152..=65_535, 1_024..=49_151];

impl State {
    /// Publishes ports, or opens those that are published already to other clients.
    pub(super) fn publish(
        &mut self,
        name: &str,
        maps: &[PortMap],
        allow: &BTreeSet<Prefix>,
        context: &Context,
    ) -> Result<Effect, Refusal> {
        self.container(name)?;
        if maps.is_empty() {
            return Ok(Effect::Unchanged);
        }
        let allow = self.allow_list(allow)?;
        let mut effect = Effect::Unchanged;
        // Those with a port first, so that no picked port takes theirs.
        let (named, picked): (Vec<_>, Vec<_>) = maps.iter().partition(|map| map.host_port.is_some());
        for map in named.into_iter().chain(picked) {
            let host_ip = self.host_ip(map, context)?;
            // Without an address of the host one family suffices, and whoever can answer at all can answer IPv6.
            let family = map.host_ip.map_or(Family::V6, Family::of);
            self.container(name)?.answerer(self, family)?;
            let mut picker = PICKED.into_iter().flatten();
            for (host_port, container_port) in map.pairs() {
                let publish =
                    Publish { container: name.to_owned(), container_port, ipv6: map.host_ip.is_none(), allow };
                let key = |host_port| PublishKey { host_ip, protocol: map.protocol, host_port };
                let free =
                    |key: &PublishKey| !self.publishes.contains_key(key) && self.check(key, &publish, context).is_ok();
                let key = match host_port {
                    Some(host_port) => key(host_port),
                    None => picker
                        .by_ref()
                        .map(key)
                        .find(free)
                        .ok_or(Refusal::NoFreePort { host_ip, protocol: map.protocol })?,
                };
                match self.publishes.get_mut(&key).filter(|found| found.covers(&publish)) {
                    Some(found) if found.allow == allow => continue,
                    Some(found) => Arc::make_mut(found).allow = allow,
                    None => {
                        self.check(&key, &publish, context)?;
                        self.publishes.insert(key, publish.into());
                    }
                }
                effect = Effect::Changed;
            }
        }
        Ok(effect)
    }

    /// The number of the list of these clients; 0 for everybody. Ports that are open to the same clients share a list.
    fn allow_list(&mut self, allow: &BTreeSet<Prefix>) -> Result<u32, Refusal> {
        if allow.is_empty() {
            return Ok(0);
        }
        if let Some((number, _)) = self.allow_lists.iter().find(|(_, list)| ***list == *allow) {
            return Ok(*number);
        }
        let number = take_number(&mut self.next_allow_list, Kind::AllowList)?;
        self.allow_lists.insert(number, allow.clone().into());
        Ok(number)
    }

    /// Drops the lists that no port names any more.
    pub(super) fn forget_unused_lists(&mut self) {
        if self.allow_lists.is_empty() {
            return;
        }
        let used: BTreeSet<u32> = self.publishes.values().map(|publish| publish.allow).collect();
        self.allow_lists.retain(|number, _| used.contains(number));
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
            let leads = |found: &Publish| found.leads_to(name, container_port);
            match host_port {
                Some(host_port) => {
                    let key = PublishKey { host_ip, protocol: map.protocol, host_port };
                    keys.extend(self.publishes.get(&key).filter(|found| leads(found)).map(|_| key));
                }
                None => keys.extend(
                    self.publishes
                        .iter()
                        .filter(|&(key, found)| leads(found) && key.protocol == map.protocol && key.host_ip == host_ip)
                        .map(|(key, _)| *key),
                ),
            }
            if keys.len() == before {
                let one = PortMap { host_port, container_port, count: 1, ..map.clone() };
                let ours = self.publishes.iter().filter(|(_, publish)| publish.container == name);
                let has = ours.map(|(key, publish)| key.map_to(publish).to_string()).collect();
                return Err(Refusal::NotPublished { container: name.to_owned(), port: one.to_string(), has });
            }
        }
        Ok(keys)
    }

    /// The address of the host that a map names.
    fn host_ip(&self, map: &PortMap, context: &Context) -> Result<IpAddr, Refusal> {
        match map.protocol {
            Protocol::Tcp | Protocol::Udp => {}
            Protocol::Sctp if map.host_port == Some(map.container_port) => {}
            Protocol::Sctp => {
                let why =
                    "the checksum of SCTP covers its ports; publish the container's port as the same port of the host";
                return Err(Refusal::Unsupported { what: format!("publishing {map}"), why });
            }
        }
        let address = map.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if is_link_local(address) {
            return Err(Refusal::LinkLocal { address });
        }
        // That of a network with a parent is somebody else's.
        let own = || self.networks.values().filter(|network| network.parent.is_none());
        let is_gateway = || own().flat_map(|network| &network.subnets).any(|subnet| subnet.gateway == address);
        if address.is_unspecified()
            || address.is_loopback()
            || context.facts.addresses.contains(&address)
            || is_gateway()
        {
            return Ok(address);
        }
        let is_meant = |has: &IpAddr| has.is_ipv4() == address.is_ipv4() && !is_link_local(*has);
        let has = context.facts.addresses.iter().copied().filter(is_meant).collect();
        Err(Refusal::NotHostAddress { address, has })
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

impl Publish {
    /// Whether this leads where the other does, which has the same key, and at all of its addresses.
    fn covers(&self, other: &Self) -> bool {
        self.leads_to(&other.container, other.container_port) && (self.ipv6 || !other.ipv6)
    }
}

impl PublishKey {
    /// The port map that says the same.
    #[must_use]
    pub fn map_to(&self, publish: &Publish) -> PortMap {
        PortMap {
            host_ip: Some(self.host_ip).filter(|_| !publish.ipv6),
            host_port: Some(self.host_port),
            container_port: publish.container_port,
            count: 1,
            protocol: self.protocol,
        }
    }
}

impl Container {
    /// Where a port leads that is published on an address of this family: the endpoint that has the default route of the
    /// family, since the answers leave by that. Without one of IPv6, an IPv6 address leads to IPv4, and the packets are
    /// translated.
    ///
    /// # Errors
    /// When there is none.
    pub fn answerer<'a>(&'a self, state: &'a State, family: Family) -> Result<(&'a Endpoint, IpAddr), Refusal> {
        let published =
            |endpoint: &Endpoint| state.networks.get(&endpoint.network).is_some_and(|network| network.is_published());
        // What it answers leaves by the default route.
        let find = |family| state.way_out(self, family).filter(|(endpoint, _)| published(endpoint));
        let found = match family {
            Family::V4 => find(Family::V4),
            Family::V6 => find(Family::V6).or_else(|| find(Family::V4)),
        };
        let outside =
            |endpoint: &&Endpoint| state.networks.get(&endpoint.network).is_some_and(|network| network.is_outside());
        let why = match self.mode {
            Mode::Host => "it is on the host's own network, where its ports answer already",
            Mode::None => "it is on no network",
            Mode::Container => "it shares the namespace of another; publish the ports of that one",
            Mode::Bridge if self.endpoints.is_empty() => "it is on no network",
            Mode::Bridge if self.endpoints.iter().all(|endpoint| outside(&endpoint) && !published(endpoint)) => {
                "it is on the wire of an interface of the host, where its ports answer at its own address"
            }
            Mode::Bridge if self.endpoints.iter().any(|endpoint| outside(&endpoint) && !published(endpoint)) => {
                "its default route is by a macvlan or ipvlan network, where the answers would leave; name the bridge \
                 network first"
            }
            Mode::Bridge if self.endpoints.iter().any(|endpoint| outside(&endpoint)) => {
                "it has no IPv4 address for one of the host to lead to; name an IPv6 address, such as [::], or none"
            }
            Mode::Bridge => "it is only on internal networks",
        };
        found.ok_or_else(|| Refusal::NoAddress { container: self.name.clone(), why })
    }
}
