//! When does a network come and go?

use super::{Effect, check_name, identifier, take_number};
use crate::model::command::{Context, NetworkSpec};
use crate::model::ipam;
use crate::model::options::NetworkOptions;
use crate::model::refusal::{Kind, Refusal};
use crate::model::state::{Driver, Network, State, Subnet};
use ipnetwork::{IpNetwork, Ipv4Network};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The network of containers that name none.
pub(super) const BRIDGE: &str = "bridge";
/// The networks that are always there.
const BUILTINS: [(&str, Driver); 3] = [(BRIDGE, Driver::Bridge), ("host", Driver::Host), ("none", Driver::None)];

/// Prefix lengths of a subnet: at /31 no address is left for a container, and more than a /8 is a slip of the pen.
const PREFIXES: std::ops::RangeInclusive<u8> = 8..=30;
/// Bytes: the least that IPv4 allows (RFC 791 section 3.2), and the most that veth does.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;

impl State {
    pub(super) fn install_builtins(&mut self, context: &Context) -> Result<Effect, Refusal> {
        let mut effect = Effect::Unchanged;
        for (index, (name, driver)) in (0..).zip(BUILTINS) {
            if self.networks.contains_key(name) {
                continue;
            }
            let subnets = match driver {
                Driver::Bridge => vec![self.automatic_subnet(context)?],
                Driver::Host | Driver::None => Vec::new(),
            };
            let network = Network {
                number: take_number(&mut self.next_network, Kind::Network)?,
                name: name.to_owned(),
                id: identifier(context, index),
                driver,
                subnets,
                internal: false,
                icc: true,
                masquerade: true,
                mtu: None,
                labels: BTreeMap::new(),
                options: BTreeMap::new(),
                created: context.now,
            };
            self.networks.insert(name.to_owned(), network);
            effect = Effect::Changed;
        }
        Ok(effect)
    }

    pub(super) fn create_network(&mut self, spec: &NetworkSpec, context: &Context) -> Result<Effect, Refusal> {
        check_name(Kind::Network, &spec.name)?;
        if self.networks.contains_key(&spec.name) || is_builtin(&spec.name) {
            return Err(Refusal::NameTaken { kind: Kind::Network, name: spec.name.clone() });
        }
        if let Some(mtu) = spec.mtu.filter(|mtu| !MTUS.contains(mtu)) {
            return Err(bad(spec, format!("MTU {mtu} is not from {} to {}", MTUS.start(), MTUS.end())));
        }
        check_options(spec)?;
        let network = Network {
            subnets: vec![self.subnet_of(spec, context)?],
            number: take_number(&mut self.next_network, Kind::Network)?,
            name: spec.name.clone(),
            id: identifier(context, 0),
            driver: Driver::Bridge,
            internal: spec.internal,
            icc: !spec.no_icc,
            masquerade: !spec.no_masquerade,
            mtu: spec.mtu,
            labels: spec.labels.clone(),
            options: spec.options.clone(),
            created: context.now,
        };
        self.networks.insert(spec.name.clone(), network);
        Ok(Effect::Changed)
    }

    pub(super) fn remove_networks(&mut self, names: &[String]) -> Result<Effect, Refusal> {
        for name in names {
            let network = self.network(name)?;
            if is_builtin(name) {
                return Err(Refusal::BuiltinNetwork { network: name.clone() });
            }
            let on_it = |container: &&crate::model::state::Container| {
                container.endpoints.iter().any(|endpoint| endpoint.network == network.name)
            };
            let by: Vec<String> = self.containers.values().filter(on_it).map(|c| c.name.clone()).collect();
            if !by.is_empty() {
                return Err(Refusal::NetworkInUse { network: name.clone(), by });
            }
        }
        let before = self.networks.len();
        self.networks.retain(|name, _| !names.contains(name));
        Ok(if self.networks.len() == before { Effect::Unchanged } else { Effect::Changed })
    }

    fn subnet_of(&self, spec: &NetworkSpec, context: &Context) -> Result<Subnet, Refusal> {
        let mut subnet = match spec.subnets.as_slice() {
            [] => self.automatic_subnet(context)?,
            [subnet] => self.named_subnet(spec, *subnet, context)?,
            [_, _, ..] => return Err(bad(spec, "one IPv4 subnet is the most; name one".to_owned())),
        };
        let inside = |what: &str, address: IpAddr, subnet: &Subnet| {
            if address.is_ipv6() {
                return Err(Refusal::Ipv6Unsupported { what: format!("{what} {address}") });
            }
            if subnet.subnet.contains(address) {
                return Ok(());
            }
            Err(bad(spec, format!("{what} {address} is outside the subnet {}", subnet.subnet)))
        };
        for (name, &address) in &spec.aux_addresses {
            inside("auxiliary address", address, &subnet)?;
            subnet.aux_addresses.insert(name.clone(), address);
        }
        match spec.gateways.as_slice() {
            [] => subnet.gateway = first_free(&subnet).ok_or_else(|| no_gateway(spec))?,
            [gateway] => {
                inside("gateway", *gateway, &subnet)?;
                if spec.subnets.is_empty() {
                    return Err(bad(spec, "a gateway needs its subnet; name it with --subnet".to_owned()));
                }
                if spec.aux_addresses.values().any(|aux| aux == gateway)
                    || [subnet.subnet.network(), subnet.subnet.broadcast()].contains(gateway)
                {
                    return Err(bad(spec, format!("{gateway} cannot be the gateway: it is set aside already")));
                }
                subnet.gateway = *gateway;
            }
            [_, _, ..] => return Err(bad(spec, "one IPv4 gateway is the most; name one".to_owned())),
        }
        match spec.ip_ranges.as_slice() {
            [] => {}
            [range] => {
                inside("range", range.network(), &subnet)?;
                inside("range", range.broadcast(), &subnet)?;
                subnet.ip_range = Some(*range);
            }
            [_, _, ..] => return Err(bad(spec, "one range is the most; name one".to_owned())),
        }
        Ok(subnet)
    }

    fn named_subnet(&self, spec: &NetworkSpec, subnet: IpNetwork, context: &Context) -> Result<Subnet, Refusal> {
        let IpNetwork::V4(v4) = subnet else {
            return Err(Refusal::Ipv6Unsupported { what: format!("subnet {subnet}") });
        };
        if v4.ip() != v4.network() {
            let whole = format!("{}/{}", v4.network(), v4.prefix());
            return Err(bad(spec, format!("{subnet} is an address in a subnet; write {whole}")));
        }
        if !PREFIXES.contains(&v4.prefix()) {
            let (least, most) = (PREFIXES.start(), PREFIXES.end());
            return Err(bad(spec, format!("prefix length /{} is not from /{least} to /{most}", v4.prefix())));
        }
        if let Some(what) = special(v4) {
            return Err(bad(spec, format!("{subnet} holds {what} addresses; choose a private range (RFC 1918)")));
        }
        for network in self.networks.values() {
            if let Some(other) = network.subnets.iter().find(|other| ipam::overlap(other.subnet, subnet)) {
                let whose = format!("of network \"{}\"", network.name);
                return Err(Refusal::SubnetOverlaps { subnet, other: other.subnet, whose });
            }
        }
        if let Some(&other) = context.facts.routed.iter().find(|&&other| ipam::overlap(other, subnet)) {
            return Err(Refusal::SubnetOverlaps { subnet, other, whose: "which the host routes already".to_owned() });
        }
        Ok(Subnet { subnet, gateway: subnet.network(), ip_range: None, aux_addresses: BTreeMap::new(), last: None })
    }

    fn automatic_subnet(&self, context: &Context) -> Result<Subnet, Refusal> {
        let networks = self.networks.values().flat_map(|network| &network.subnets).map(|subnet| subnet.subnet);
        let occupied: Vec<IpNetwork> = networks
            .chain(context.facts.routed.iter().copied())
            .chain(context.facts.addresses.iter().map(|&address| address.into()))
            .collect();
        let v4 = ipam::automatic_subnet(&occupied).ok_or(Refusal::SubnetsUsedUp)?;
        let gateway = Ipv4Addr::from_bits(v4.network().to_bits() + 1).into();
        Ok(Subnet { subnet: v4.into(), gateway, ip_range: None, aux_addresses: BTreeMap::new(), last: None })
    }
}

/// The options are kept as they were given; what reads them later finds no fault in them.
fn check_options(spec: &NetworkSpec) -> Result<(), Refusal> {
    let options = NetworkOptions::parse(&spec.options).map_err(|error| bad(spec, error.to_string()))?;
    let stands_against = [(spec.internal, "internal"), (spec.no_masquerade, "not masqueraded")];
    match stands_against.into_iter().find(|(is_set, _)| *is_set && !options.snat_pool.is_empty()) {
        Some((_, what)) => {
            Err(bad(spec, format!("snat-pool has no use: the network is {what}; leave one of them out")))
        }
        None => Ok(()),
    }
}

fn is_builtin(name: &str) -> bool {
    BUILTINS.iter().any(|(builtin, _)| *builtin == name)
}

fn bad(spec: &NetworkSpec, what: String) -> Refusal {
    Refusal::BadNetwork { network: spec.name.clone(), what }
}

fn no_gateway(spec: &NetworkSpec) -> Refusal {
    bad(spec, "the auxiliary addresses leave none for the gateway; make the subnet larger".to_owned())
}

/// The first address that is neither the network's, nor broadcast, nor an auxiliary one.
fn first_free(subnet: &Subnet) -> Option<IpAddr> {
    let edges = [subnet.subnet.network(), subnet.subnet.broadcast()];
    subnet
        .subnet
        .iter()
        .find(|address| !edges.contains(address) && !subnet.aux_addresses.values().any(|aux| aux == address))
}

/// What kind of addresses no container can have is in there.
fn special(subnet: Ipv4Network) -> Option<&'static str> {
    let reserved = [
        ("unspecified", Ipv4Addr::UNSPECIFIED, 8),
        ("loopback", Ipv4Addr::new(127, 0, 0, 0), 8),
        // The hairpin source is one of them.
        ("link-local", Ipv4Addr::new(169, 254, 0, 0), 16),
        ("multicast or reserved", Ipv4Addr::new(224, 0, 0, 0), 3),
    ];
    reserved.into_iter().find_map(|(what, address, prefix)| {
        Ipv4Network::new(address, prefix).ok().filter(|range| range.overlaps(subnet)).map(|_| what)
    })
}
