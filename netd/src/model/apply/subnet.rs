//! Which subnets does a network get?

use super::network::{BRIDGE, bad};
use crate::model::command::{Context, NetworkSpec};
use crate::model::family::Family;
use crate::model::ipam;
use crate::model::node::Ipv6;
use crate::model::parent::Parent;
use crate::model::refusal::Refusal;
use crate::model::state::{Network, State, Subnet};
use ipnetwork::IpNetwork;
use netd_common::globals::HAIRPIN_V6;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Prefix lengths of an IPv4 subnet: at /31 no address is left for a container, and more than a /8 is a slip of the pen.
const PREFIXES: RangeInclusive<u8> = 8..=30;
/// Of an IPv6 subnet, for the same reasons.
const PREFIXES_V6: RangeInclusive<u8> = 16..=126;
/// Addresses that no container can have: what they are, and a prefix.
const RESERVED: [(&str, IpAddr, u8); 8] = [
    ("unspecified", IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8),
    ("loopback", IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    // The hairpin source is one of them.
    ("link-local", IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    ("multicast or reserved", IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 3),
    // With the unspecified address, loopback, and what is v4-mapped (RFC 4291 section 2.4).
    ("reserved", IpAddr::V6(Ipv6Addr::UNSPECIFIED), 8),
    ("link-local", IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    ("multicast", IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
    ("netd's own", IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(HAIRPIN_V6.bytes))), 128),
];
impl State {
    /// The subnets that were asked for, IPv4's first.
    pub(super) fn subnets_of(
        &self,
        spec: &NetworkSpec,
        parent: Option<&Parent>,
        context: &Context,
    ) -> Result<Vec<Subnet>, Refusal> {
        let v4 = only_one(spec, Family::V4, "subnets", &spec.subnets, IpNetwork::network)?;
        let v6 = only_one(spec, Family::V6, "subnets", &spec.subnets, IpNetwork::network)?;
        let wanted = [(Family::V4, v4, v6.is_none() || spec.ipv6), (Family::V6, v6, spec.ipv6)];
        let mut subnets = Vec::new();
        for (family, named, automatic) in wanted {
            let subnet = match named {
                Some(subnet) => self.named_subnet(spec, *subnet, parent, context)?,
                None if automatic => self.automatic_subnet(family, context)?,
                None => continue,
            };
            if family == Family::V6 && context.facts.ipv6 != Ipv6::Available {
                return Err(Refusal::Ipv6Unavailable { network: spec.name.clone(), why: context.facts.ipv6 });
            }
            subnets.push(subnet);
        }
        for (name, &address) in &spec.aux_addresses {
            let subnet = inside(spec, "auxiliary address", address, &mut subnets)?;
            subnet.aux_addresses.insert(name.clone(), address);
        }
        for family in Family::BOTH {
            set_gateway(spec, family, &mut subnets)?;
            if let Some(range) = only_one(spec, family, "ranges", &spec.ip_ranges, IpNetwork::network)? {
                inside(spec, "range", range.network(), &mut subnets)?;
                inside(spec, "range", range.broadcast(), &mut subnets)?.ip_range = Some(*range);
            }
        }
        if parent.is_some() {
            set_hosts_aside(spec, &mut subnets, context)?;
        }
        Ok(subnets)
    }

    fn named_subnet(
        &self,
        spec: &NetworkSpec,
        subnet: IpNetwork,
        parent: Option<&Parent>,
        context: &Context,
    ) -> Result<Subnet, Refusal> {
        if subnet.ip() != subnet.network() {
            let whole = format!("{}/{}", subnet.network(), subnet.prefix());
            return Err(bad(spec, format!("{subnet} is an address in a subnet; write {whole}")));
        }
        let prefixes = if subnet.is_ipv4() { PREFIXES } else { PREFIXES_V6 };
        if !prefixes.contains(&subnet.prefix()) {
            let (least, most) = (prefixes.start(), prefixes.end());
            return Err(bad(spec, format!("prefix length /{} is not from /{least} to /{most}", subnet.prefix())));
        }
        if let Some(what) = special(subnet) {
            let private = if subnet.is_ipv4() { "RFC 1918" } else { "fd00::/8, RFC 4193" };
            return Err(bad(spec, format!("{subnet} holds {what} addresses; choose a private range ({private})")));
        }
        // On another wire, the same addresses are others.
        let is_elsewhere = |network: &Network| match (parent, &network.parent) {
            (Some(own), Some(other)) => own.interface != other.interface,
            (None, _) | (_, None) => false,
        };
        for network in self.networks.values().filter(|network| !is_elsewhere(network)) {
            if let Some(other) = network.subnets.iter().find(|other| ipam::overlap(other.subnet, subnet)) {
                let whose = format!("of network \"{}\"", network.name);
                return Err(Refusal::SubnetOverlaps { subnet, other: other.subnet, whose });
            }
        }
        // The host routes what is on the parent's wire, as a rule.
        let routed = if parent.is_some() { None } else { Some(&context.facts.routed) };
        if let Some(&other) = routed.into_iter().flatten().find(|&&other| ipam::overlap(other, subnet)) {
            return Err(Refusal::SubnetOverlaps { subnet, other, whose: "which the host routes already".to_owned() });
        }
        Ok(Subnet { subnet, gateway: subnet.network(), ip_range: None, aux_addresses: BTreeMap::new(), last: None })
    }

    pub(super) fn automatic_subnet(&self, family: Family, context: &Context) -> Result<Subnet, Refusal> {
        let pools = match family {
            Family::V4 => context.subnet_pools.clone(),
            Family::V6 => vec![ipam::site(self.site_bits(context))],
        };
        let networks = self.networks.values().flat_map(|network| &network.subnets).map(|subnet| subnet.subnet);
        let occupied: Vec<IpNetwork> = networks
            .chain(context.facts.routed.iter().copied())
            .chain(context.facts.addresses.iter().map(|&address| address.into()))
            .chain(reserved().map(|(_, range)| range))
            .collect();
        let found = pools.iter().find_map(|pool| ipam::automatic_subnet(*pool, &occupied));
        let subnet = found.ok_or(Refusal::SubnetsUsedUp { pools })?;
        let mut subnet =
            Subnet { subnet, gateway: subnet.network(), ip_range: None, aux_addresses: BTreeMap::new(), last: None };
        subnet.gateway = ipam::first_free(&subnet).unwrap_or(subnet.gateway);
        Ok(subnet)
    }

    /// The random bits of this installation's own IPv6 range: those with which the identifier of its first network
    /// begins, so that they stay.
    fn site_bits(&self, context: &Context) -> [u8; 5] {
        let [a, b, c, d, e, ..] = context.entropy;
        let digits = self.networks.get(BRIDGE).and_then(|bridge| bridge.id.get(..10));
        let bits = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        bits.map_or([a, b, c, d, e], |bits| {
            let [_, _, _, a, b, c, d, e] = bits.to_be_bytes();
            [a, b, c, d, e]
        })
    }
}

/// The item of a family, of a list that may hold one of each. `what` they are, in the plural.
fn only_one<'a, T>(
    spec: &NetworkSpec,
    family: Family,
    what: &str,
    items: &'a [T],
    address_of: impl Fn(&T) -> IpAddr,
) -> Result<Option<&'a T>, Refusal> {
    let mut own = items.iter().filter(|item| Family::of(address_of(item)) == family);
    match (own.next(), own.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(bad(spec, format!("several {family} {what} are named; one of each family is the most"))),
    }
}

/// The subnet that an address is in.
fn inside<'a>(
    spec: &NetworkSpec,
    what: &str,
    address: IpAddr,
    subnets: &'a mut [Subnet],
) -> Result<&'a mut Subnet, Refusal> {
    let family = Family::of(address);
    let Some(subnet) = subnets.iter_mut().find(|subnet| Family::of(subnet.gateway) == family) else {
        return Err(bad(spec, format!("{what} {address}: the network has no {family} subnet; name one with --subnet")));
    };
    if subnet.subnet.contains(address) {
        return Ok(subnet);
    }
    Err(bad(spec, format!("{what} {address} is outside the subnet {}", subnet.subnet)))
}

fn set_gateway(spec: &NetworkSpec, family: Family, subnets: &mut [Subnet]) -> Result<(), Refusal> {
    let Some(&gateway) = only_one(spec, family, "gateways", &spec.gateways, |gateway| *gateway)? else {
        if let Some(subnet) = subnets.iter_mut().find(|subnet| Family::of(subnet.gateway) == family) {
            subnet.gateway = ipam::first_free(subnet).ok_or_else(|| no_gateway(spec))?;
        }
        return Ok(());
    };
    let subnet = inside(spec, "gateway", gateway, subnets)?;
    if !spec.subnets.contains(&subnet.subnet) {
        return Err(bad(spec, "a gateway needs its subnet; name it with --subnet".to_owned()));
    }
    if ipam::edge(subnet.subnet, gateway).is_some() || subnet.aux_addresses.values().any(|aux| *aux == gateway) {
        return Err(bad(spec, format!("{gateway} cannot be the gateway: it is set aside already")));
    }
    subnet.gateway = gateway;
    Ok(())
}

/// On the wire of a parent, the host has addresses like anybody else: they are set aside as `host`, and one of them can be
/// no gateway.
fn set_hosts_aside(spec: &NetworkSpec, subnets: &mut [Subnet], context: &Context) -> Result<(), Refusal> {
    for subnet in subnets {
        let mut names = (1_u32..).map(|number| if number == 1 { "host".to_owned() } else { format!("host-{number}") });
        for &address in context.facts.addresses.iter().filter(|address| subnet.subnet.contains(**address)) {
            if address == subnet.gateway {
                let what = format!(
                    "the gateway {address} is an address of this host, which containers on its wire do not reach; name \
                     that of the router with --gateway"
                );
                return Err(bad(spec, what));
            }
            if subnet.aux_addresses.values().any(|aux| *aux == address) {
                continue;
            }
            if let Some(name) = names.find(|name| !spec.aux_addresses.contains_key(name)) {
                subnet.aux_addresses.insert(name, address);
            }
        }
    }
    Ok(())
}

fn no_gateway(spec: &NetworkSpec) -> Refusal {
    bad(spec, "the auxiliary addresses leave none for the gateway; make the subnet larger".to_owned())
}

fn reserved() -> impl Iterator<Item = (&'static str, IpNetwork)> {
    RESERVED.into_iter().filter_map(|(what, address, prefix)| Some((what, IpNetwork::new(address, prefix).ok()?)))
}

/// What kind of addresses no container can have is in there.
fn special(subnet: IpNetwork) -> Option<&'static str> {
    reserved().find(|(_, range)| ipam::overlap(*range, subnet)).map(|(what, _)| what)
}
