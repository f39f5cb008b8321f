//! Which ports of a container are published as the file says, which are not, and which are in the way of others?

use netd::api::records::ContainerPublishRecord;
use netd::model::port_map::PortMap;
use netd::model::prefix::Prefix;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A port, or neighbours, for the same clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub map: PortMap,
    /// Empty: everybody.
    pub allow: BTreeSet<Prefix>,
}

/// The ports of one container, compared.
#[derive(Debug, Default)]
pub struct Compared {
    /// As they should be.
    pub same: Vec<Port>,
    /// To be published.
    pub new: Vec<Port>,
    /// To be open to other clients; with those that they are open to now.
    pub other_clients: Vec<(Port, BTreeSet<Prefix>)>,
    /// Published, and not in the file.
    pub extra: Vec<Port>,
}

/// Single ports all; see [`merged`].
pub fn compared(wanted: &[(PortMap, BTreeSet<Prefix>)], there: &[ContainerPublishRecord]) -> Compared {
    let mut compared = Compared::default();
    let mut there: Vec<Port> = there.iter().map(of_record).collect();
    // Those with a port first: a port that netd is to pick may be any of those that are left.
    let (named, picked): (Vec<_>, Vec<_>) = wanted.iter().partition(|(map, _)| map.host_port.is_some());
    let mut seen = BTreeSet::new();
    for (map, allow) in named.into_iter().chain(picked) {
        for (host_port, container_port) in map.pairs() {
            let one = PortMap { host_port, container_port, count: 1, ..map.clone() };
            if !seen.insert(one.to_string()) {
                continue;
            }
            let allow = allow.clone();
            let is_it = |port: &Port| {
                let host_port = one.host_port.or(port.map.host_port);
                port.map == PortMap { host_port, ..one.clone() }
            };
            match there.iter().position(is_it).map(|at| there.remove(at)) {
                None => compared.new.push(Port { map: one, allow }),
                Some(found) if found.allow == allow => compared.same.push(found),
                Some(Port { map, allow: now }) => compared.other_clients.push((Port { map, allow }, now)),
            }
        }
    }
    compared.extra = there;
    compared
}

fn of_record(record: &ContainerPublishRecord) -> Port {
    let map = PortMap {
        host_ip: Some(record.host_ip).filter(|_| record.host_ip6.is_none()),
        host_port: Some(record.host_port),
        container_port: record.container_port,
        count: 1,
        protocol: record.protocol,
    };
    Port { map, allow: record.allow.iter().copied().collect() }
}

impl Port {
    /// Whether this cannot stay when the other is to be published, by the same container or another. A container may have a
    /// port at all addresses and, to another end, at one of them.
    pub fn is_in_the_way_of(&self, other: &Self, of_same_container: bool) -> bool {
        let meet = |a: IpAddr, b: IpAddr| {
            let is_any = a.is_unspecified() || b.is_unspecified();
            a == b || !of_same_container && is_any && a.is_ipv4() == b.is_ipv4()
        };
        self.map.protocol == other.map.protocol
            && self.map.host_port == other.map.host_port
            && self.addresses().iter().any(|a| other.addresses().iter().any(|b| meet(*a, *b)))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        self.map.host_ip.map_or_else(|| any.to_vec(), |address| vec![address])
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        let (a, b) = (&self.map, &next.map);
        let follows = |a: u16, b: u16| a.checked_add(self.map.count) == Some(b);
        a.host_ip == b.host_ip
            && a.protocol == b.protocol
            && self.allow == next.allow
            && follows(a.container_port, b.container_port)
            && match (a.host_port, b.host_port) {
                (Some(a), Some(b)) => follows(a, b),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

/// Neighbours as ranges.
pub fn merged(ports: impl IntoIterator<Item = Port>) -> Vec<Port> {
    let mut all: Vec<Port> = Vec::new();
    for port in ports {
        match all.last_mut().filter(|last| last.is_followed_by(&port)) {
            Some(last) => last.map.count += 1,
            None => all.push(port),
        }
    }
    all
}
