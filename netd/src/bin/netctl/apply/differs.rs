//! In what does an object differ from what the file says, and cannot be changed while it is there?
//!
//! What the file leaves to netd, such as an address, is no difference, whatever netd chose.

use super::file::LABEL;
use crate::network::driver_name;
use ipnetwork::IpNetwork;
use netd::api::records::{ContainerRecord, EndpointRecord, NetworkRecord, SubnetRecord};
use netd::model::attach::Attach;
use netd::model::command::{ContainerSpec, NetworkSpec};
use netd::model::state::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

/// The network of containers that name none.
const BRIDGE: &str = "bridge";
const SHARED: &str = "container:";

/// Each as `what OLD -> NEW`.
pub fn network(wanted: &NetworkSpec, there: &NetworkRecord) -> Vec<String> {
    let mut found = Found::default();
    found.compare("driver", driver_name(there.driver), driver_name(wanted.driver));
    let parent = wanted.parent.as_ref().or_else(|| wanted.options.get("parent"));
    found.compare_option("parent", there.parent.as_ref(), parent);
    for is_ipv4 in [true, false] {
        family(&mut found, is_ipv4, wanted, there);
    }
    let aux = |addresses: &mut dyn Iterator<Item = (&String, &IpAddr)>| {
        listed(addresses.map(|(name, address)| format!("{name}={address}")))
    };
    let auxiliary = there.subnets.iter().flat_map(|subnet| &subnet.aux_addresses);
    // On a wire, netd sets the host's own addresses aside.
    let is_netds = |name: &str| {
        let rest =
            name.strip_prefix("host").filter(|_| there.parent.is_some() && !wanted.aux_addresses.contains_key(name));
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.parse::<u32>().is_ok()))
    };
    let mut auxiliary: Vec<_> = auxiliary.filter(|(name, _)| !is_netds(name)).collect();
    auxiliary.sort();
    found.compare("aux-address", &aux(&mut auxiliary.into_iter()), &aux(&mut wanted.aux_addresses.iter()));
    found.flag("internal", there.internal, wanted.internal);
    found.flag("no-icc", !there.icc, wanted.no_icc);
    found.flag("no-masquerade", !there.masquerade, wanted.no_masquerade);
    found.compare_option("mtu", there.mtu.as_ref(), wanted.mtu.as_ref());
    found.compare("opt", &pairs(&there.options), &pairs(&wanted.options));
    found.compare("label", &labels(&there.labels), &pairs(&wanted.labels));
    found.0
}

/// What is wanted of the addresses of one family.
fn family(found: &mut Found, is_ipv4: bool, wanted: &NetworkSpec, there: &NetworkRecord) {
    let subnet = there.subnets.iter().find(|subnet| subnet.subnet.is_ipv4() == is_ipv4);
    let named = wanted.subnets.iter().find(|subnet| subnet.is_ipv4() == is_ipv4);
    let names_ipv6 = wanted.subnets.iter().any(IpNetwork::is_ipv6);
    // As netd decides it: IPv4 unless nothing but a subnet of IPv6 was asked for, and IPv6 when it was asked for.
    let is_automatic = wanted.ipv6 || is_ipv4 && !names_ipv6;
    match (named, subnet) {
        (Some(named), there) => {
            found.compare_option("subnet", there.map(|subnet| &subnet.subnet), Some(named));
        }
        (None, Some(there)) if !is_automatic => found.compare_option("subnet", Some(&there.subnet), None::<&IpNetwork>),
        (None, None) if is_automatic => {
            found.0.push(format!("{} none -> automatic", if is_ipv4 { "IPv4" } else { "IPv6" }));
        }
        (None, _) => {}
    }
    let gateway = wanted.gateways.iter().find(|gateway| gateway.is_ipv4() == is_ipv4);
    if gateway.is_some() {
        found.compare_option("gateway", subnet.map(|subnet| &subnet.gateway), gateway);
    }
    let range = |subnet: &SubnetRecord| subnet.ip_range;
    let wanted_range = wanted.ip_ranges.iter().find(|range| range.is_ipv4() == is_ipv4);
    found.compare_option("ip-range", subnet.and_then(range).as_ref(), wanted_range);
}

/// The same of a container; its networks and ports are changed while it is there.
pub fn container(wanted: &ContainerSpec, there: &ContainerRecord) -> Vec<String> {
    let mut found = Found::default();
    let place = Place::of(wanted);
    found.compare("network", &Place::of_record(there).text(), &place.text());
    if there.mode == Mode::Container && there.netns.as_os_str().is_empty() {
        found.0.push("its namespace is gone".to_owned());
    }
    let given = there.netns_given.then(|| there.netns.display());
    found.compare_option("netns", given.as_ref(), wanted.netns.as_ref().map(|path| path.display()).as_ref());
    found.compare("label", &labels(&there.labels), &pairs(&wanted.labels));
    if let Place::Shared(_) = place {
        // All else is the other's.
        return found.0;
    }
    found.compare("hostname", &there.hostname, wanted.hostname.as_ref().unwrap_or(&wanted.name));
    found.flag("router", there.router, wanted.router);
    let wanted_exposed: BTreeSet<_> = wanted.expose.iter().collect();
    found.compare("expose", &listed(&there.exposed), &listed(wanted_exposed));
    found.compare("dns", &listed(&there.dns), &listed(&wanted.dns));
    let texts = |values: &[_]| listed(values.iter().cloned().map(String::from));
    found.compare("dns-search", &texts(&there.dns_search), &texts(&wanted.dns_search));
    let texts = |values: &[_]| listed(values.iter().cloned().map(String::from));
    found.compare("dns-option", &texts(&there.dns_options), &texts(&wanted.dns_options));
    found.compare("add-host", &listed(&there.extra_hosts), &listed(&wanted.extra_hosts));
    found.0
}

/// Where a container lives; it cannot move.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In a namespace of its own, on any networks.
    Own,
    Host,
    Shared(&'a str),
}

impl<'a> Place<'a> {
    pub fn of(spec: &'a ContainerSpec) -> Self {
        match spec.networks.as_slice() {
            [only] if only.network == "host" => Self::Host,
            [only] => only.network.strip_prefix(SHARED).map_or(Self::Own, Self::Shared),
            _ => Self::Own,
        }
    }

    fn of_record(record: &'a ContainerRecord) -> Self {
        match record.mode {
            Mode::Host => Self::Host,
            Mode::Container => Self::Shared(record.shares.as_deref().unwrap_or_default()),
            Mode::Bridge | Mode::None => Self::Own,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Own => "its own".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Shared(other) => format!("{SHARED}{other}"),
        }
    }
}

/// The networks that a container in a namespace of its own is to be on, in order, with what it is to have on each.
pub fn attachments(spec: &ContainerSpec) -> Vec<Attach> {
    let mut attached = match spec.networks.as_slice() {
        [] => vec![Attach::to(BRIDGE)],
        [only] if only.network == "none" => Vec::new(),
        all => all.to_vec(),
    };
    for attach in &mut attached {
        attach.aliases.splice(..0, spec.aliases.iter().cloned());
    }
    if let Some(first) = attached.first_mut() {
        first.ip = first.ip.or(spec.ip);
        first.ip6 = first.ip6.or(spec.ip6);
        first.mac = first.mac.or(spec.mac);
    }
    attached
}

/// In what a container is not on a network as it should be.
pub fn endpoint(wanted: &Attach, there: &EndpointRecord) -> Vec<String> {
    let mut found = Found::default();
    let chosen = |found: &mut Found, what, there: Option<IpNetwork>, wanted: Option<IpAddr>| {
        if wanted.is_some() {
            found.compare_option(what, there.map(|there| there.ip()).as_ref(), wanted.as_ref());
        }
    };
    chosen(&mut found, "ip", there.ipv4, wanted.ip);
    chosen(&mut found, "ip6", there.ipv6, wanted.ip6);
    if let Some(mac) = &wanted.mac {
        found.compare("mac", &there.mac.to_string(), &mac.to_string());
    }
    found.compare("alias", &listed(&there.aliases), &listed(&wanted.aliases));
    found.compare("gw-priority", &there.gw_priority.to_string(), &wanted.gw_priority.to_string());
    found.0
}

/// The differences so far.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn compare(&mut self, what: &str, there: &str, wanted: &str) {
        if there != wanted {
            self.0.push(format!("{what} {there} -> {wanted}"));
        }
    }

    fn compare_option(&mut self, what: &str, there: Option<&impl Display>, wanted: Option<&impl Display>) {
        let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
        self.compare(what, &text(there.map(ToString::to_string)), &text(wanted.map(ToString::to_string)));
    }

    fn flag(&mut self, what: &str, there: bool, wanted: bool) {
        let text = |set| if set { "yes" } else { "no" };
        self.compare(what, text(there), text(wanted));
    }
}

fn listed<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn pairs(pairs: &BTreeMap<String, String>) -> String {
    listed(pairs.iter().map(|(key, value)| format!("{key}={value}")))
}

/// All but the one by which apply knows its own.
fn labels(all: &BTreeMap<String, String>) -> String {
    listed(all.iter().filter(|(key, _)| *key != LABEL).map(|(key, value)| format!("{key}={value}")))
}
