//! When does a container come and go?

use super::network::BRIDGE;
use super::{Effect, check_name, identifier, take_number};
use crate::model::command::{ContainerSpec, Context, NamespaceAt};
use crate::model::family::Family;
use crate::model::ipam;
use crate::model::naming::{EXTRA_HOSTS_MAX, RESOLVER_LINES_MAX};
use crate::model::refusal::{Kind, Refusal};
use crate::model::state::{Container, Driver, Endpoint, Mac, Mode, State, Subnet};
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::IpAddr;

impl State {
    pub(super) fn create_container(&mut self, spec: &ContainerSpec, context: &Context) -> Result<Effect, Refusal> {
        self.check_names(spec)?;
        let (mode, networks) = self.networks_of(spec)?;
        self.check_namespace(spec, mode, context)?;
        check_addresses(spec, mode, &networks)?;
        check_naming(spec, mode)?;

        let mut endpoints = Vec::with_capacity(networks.len());
        for (index, network) in networks.iter().enumerate() {
            // What the user chose is for the first network.
            let chosen = Chosen { ip: spec.ip, ip6: spec.ip6, mac: spec.mac };
            let chosen = if index == 0 { chosen } else { Chosen::default() };
            endpoints.push(self.plug_in(spec, network, index, &chosen)?);
        }
        let container = Container {
            name: spec.name.clone(),
            id: identifier(context, 0),
            mode,
            netns: spec.netns.clone(),
            hostname: spec.hostname.clone().unwrap_or_else(|| spec.name.clone()),
            dns: spec.dns.clone(),
            dns_search: spec.dns_search.clone(),
            dns_options: spec.dns_options.clone(),
            extra_hosts: spec.extra_hosts.clone(),
            labels: spec.labels.clone(),
            created: context.now,
            endpoints,
        };
        self.containers.insert(spec.name.clone(), container);
        self.publish(&spec.name, &spec.publish, &BTreeSet::new(), context)?;
        Ok(Effect::Changed)
    }

    pub(super) fn remove_containers(&mut self, names: &[String]) -> Result<Effect, Refusal> {
        for name in names {
            self.container(name)?;
        }
        Ok(self.prune_containers(names))
    }

    /// Without a complaint about those that are gone: between the caller's look and this, somebody may have been faster.
    pub(super) fn prune_containers(&mut self, names: &[String]) -> Effect {
        let names: BTreeSet<&String> = names.iter().collect();
        let before = self.containers.len();
        self.containers.retain(|name, _| !names.contains(name));
        if self.containers.len() == before {
            return Effect::Unchanged;
        }
        self.publishes.retain(|_, publish| !names.contains(&publish.container));
        Effect::Changed
    }

    fn check_names(&self, spec: &ContainerSpec) -> Result<(), Refusal> {
        check_name(Kind::Container, &spec.name)?;
        if self.containers.contains_key(&spec.name) {
            return Err(Refusal::NameTaken { kind: Kind::Container, name: spec.name.clone() });
        }
        for alias in &spec.aliases {
            check_name(Kind::Alias, alias)?;
        }
        spec.hostname.as_ref().map_or(Ok(()), |hostname| check_name(Kind::Host, hostname))
    }

    /// The mode and the networks to plug in, by name.
    fn networks_of(&self, spec: &ContainerSpec) -> Result<(Mode, Vec<String>), Refusal> {
        let names = if spec.networks.is_empty() { vec![BRIDGE.to_owned()] } else { spec.networks.clone() };
        let mut seen = BTreeSet::new();
        for name in &names {
            if name.starts_with("container:") {
                let why = "a container cannot share another's namespace; use a network";
                return Err(Refusal::Unsupported { what: format!("network \"{name}\""), why });
            }
            if !seen.insert(name) {
                return Err(Refusal::NetworkTwice { network: name.clone() });
            }
            let mode = match self.network(name)?.driver {
                Driver::Bridge | Driver::Macvlan | Driver::Ipvlan => continue,
                Driver::Host => Mode::Host,
                Driver::None => Mode::None,
            };
            if names.len() > 1 {
                return Err(Refusal::NetworkStandsAlone { network: name.clone() });
            }
            return Ok((mode, Vec::new()));
        }
        Ok((Mode::Bridge, names))
    }

    fn check_namespace(&self, spec: &ContainerSpec, mode: Mode, context: &Context) -> Result<(), Refusal> {
        let Some(path) = &spec.netns else {
            return match mode {
                Mode::Bridge | Mode::None if context.namespaces.contains(&spec.name) => {
                    Err(Refusal::NamespaceExists { name: spec.name.clone() })
                }
                Mode::Bridge | Mode::None | Mode::Host => Ok(()),
            };
        };
        if mode == Mode::Host {
            return Err(Refusal::NeedsNetwork { option: "--netns", network: "host".to_owned() });
        }
        if !path.is_absolute() {
            return Err(Refusal::RelativeNamespace { path: path.clone() });
        }
        match context.given_namespace {
            NamespaceAt::Other => {}
            NamespaceAt::Host => return Err(Refusal::HostNamespace { path: path.clone() }),
            NamespaceAt::Nothing => return Err(Refusal::NoNamespace { path: path.clone() }),
        }
        match self.containers.values().find(|other| other.netns.as_ref() == Some(path)) {
            Some(other) => Err(Refusal::NamespaceInUse { path: path.clone(), container: other.name.clone() }),
            None => Ok(()),
        }
    }

    /// Makes the endpoint: the number, the addresses and the MAC are taken.
    fn plug_in(
        &mut self,
        spec: &ContainerSpec,
        network: &str,
        index: usize,
        chosen: &Chosen,
    ) -> Result<Endpoint, Refusal> {
        self.check_wire(network, chosen.mac)?;
        let number = take_number(&mut self.next_endpoint, Kind::Container)?;
        let neighbours = Neighbours::of(self, network);
        let ipv4 = self.take_address(network, Family::V4, "--ip", chosen.ip, &neighbours)?;
        let ipv6 = self.take_address(network, Family::V6, "--ip6", chosen.ip6, &neighbours)?;
        let gateway_mac = self.network(network)?.gateway_mac();
        let mac = chosen.mac.unwrap_or_else(|| match ipv4.map(|ipv4| ipv4.ip()) {
            Some(IpAddr::V4(ipv4)) => Mac::of(ipv4),
            Some(IpAddr::V6(_)) | None => neighbours.free_mac(number),
        });
        if let Some(by) = neighbours.holder_of(mac, gateway_mac) {
            return Err(Refusal::MacTaken { mac, network: network.to_owned(), by });
        }
        Ok(Endpoint {
            number,
            network: network.to_owned(),
            interface: format!("eth{index}"),
            host_interface: format!("nd{number:x}"),
            mac,
            ipv4,
            ipv6,
            aliases: spec.aliases.clone(),
        })
    }

    /// The address that the user chose by `option`, or else the next one; none when the network has none of the family.
    fn take_address(
        &mut self,
        network: &str,
        family: Family,
        option: &'static str,
        chosen: Option<IpAddr>,
        neighbours: &Neighbours,
    ) -> Result<Option<IpNetwork>, Refusal> {
        let subnets = self.networks.get_mut(network).map(|network| &mut network.subnets);
        let Some(subnet) = subnets.into_iter().flatten().find(|subnet| Family::of(subnet.gateway) == family) else {
            let no_subnet = |address| Refusal::NoSubnet { network: network.to_owned(), option, family, address };
            return chosen.map_or(Ok(None), |address| Err(no_subnet(address)));
        };
        let address = if let Some(address) = chosen {
            neighbours.check(address, subnet)?;
            address
        } else {
            let range = subnet.ip_range.unwrap_or(subnet.subnet);
            let next = ipam::next_address(subnet, &neighbours.passed_over);
            let used_up = || Refusal::AddressesUsedUp { network: network.to_owned(), range };
            *subnet.last.insert(next.ok_or_else(used_up)?)
        };
        Ok(IpNetwork::new(address, subnet.subnet.prefix()).ok())
    }
}

/// What the user chose for an endpoint.
#[derive(Debug, Default)]
struct Chosen {
    ip: Option<IpAddr>,
    ip6: Option<IpAddr>,
    mac: Option<Mac>,
}

/// What the user asked of addresses, as far as it can be judged without the subnets.
fn check_addresses(spec: &ContainerSpec, mode: Mode, networks: &[String]) -> Result<(), Refusal> {
    if let Some(address) = spec.ip.filter(IpAddr::is_ipv6) {
        return Err(Refusal::OtherFamily { address, instead: "--ip6" });
    }
    if let Some(address) = spec.ip6.filter(IpAddr::is_ipv4) {
        return Err(Refusal::OtherFamily { address, instead: "--ip" });
    }
    if let Some(mac) = spec.mac {
        let [first, ..] = mac.0;
        if mac.0 == [0; 6] {
            return Err(Refusal::BadMac { mac, why: "all zero" });
        }
        if first & 1 != 0 {
            return Err(Refusal::BadMac { mac, why: "a group's" });
        }
    }
    if networks.is_empty() {
        let network = match mode {
            Mode::Host => "host",
            Mode::None | Mode::Bridge => "none",
        };
        for (option, given) in [
            ("--ip", spec.ip.is_some()),
            ("--ip6", spec.ip6.is_some()),
            ("--mac", spec.mac.is_some()),
            ("--alias", !spec.aliases.is_empty()),
        ] {
            if given {
                return Err(Refusal::NeedsNetwork { option, network: network.to_owned() });
            }
        }
    }
    Ok(())
}

/// What the user asked of its files. A container on the host sees the host's, which netd does not change.
fn check_naming(spec: &ContainerSpec, mode: Mode) -> Result<(), Refusal> {
    for (option, count, most) in [
        ("--dns", spec.dns.len(), RESOLVER_LINES_MAX),
        ("--dns-search", spec.dns_search.len(), RESOLVER_LINES_MAX),
        ("--dns-option", spec.dns_options.len(), RESOLVER_LINES_MAX),
        ("--add-host", spec.extra_hosts.len(), EXTRA_HOSTS_MAX),
    ] {
        if count > most {
            return Err(Refusal::TooMany { option, most });
        }
        // `--dns` was taken there before, and says nothing.
        if count > 0 && mode == Mode::Host && option != "--dns" {
            return Err(Refusal::NeedsNetwork { option, network: "host".to_owned() });
        }
    }
    Ok(())
}

/// Who has which address on a network already.
struct Neighbours {
    network: String,
    /// Addresses not to be handed out: those taken, and those whose MAC address somebody has by the user's choice.
    passed_over: BTreeSet<IpAddr>,
    endpoints: Vec<(String, Vec<IpAddr>, Mac)>,
}

impl Neighbours {
    fn of(state: &State, network: &str) -> Self {
        let endpoints: Vec<_> = state
            .containers
            .values()
            .flat_map(|container| container.endpoints.iter().map(move |endpoint| (container, endpoint)))
            .filter(|(_, endpoint)| endpoint.network == network)
            .map(|(container, endpoint)| (container.name.clone(), endpoint.addresses().collect(), endpoint.mac))
            .collect();
        let passed_over = endpoints
            .iter()
            .flat_map(|(_, addresses, mac): &(String, Vec<IpAddr>, Mac)| addresses.iter().copied().chain(mac.address()))
            .collect();
        Self { network: network.to_owned(), passed_over, endpoints }
    }

    /// An address that the user chose.
    fn check(&self, address: IpAddr, subnet: &Subnet) -> Result<(), Refusal> {
        let network = self.network.clone();
        if !subnet.subnet.contains(address) {
            return Err(Refusal::AddressOutside { address, network, subnet: subnet.subnet });
        }
        if let Some(by) = ipam::reserved(subnet, address) {
            return Err(Refusal::AddressTaken { address, network, by });
        }
        match self.endpoints.iter().find(|(_, others, _)| others.contains(&address)) {
            Some((name, _, _)) => Err(Refusal::AddressTaken { address, network, by: format!("container \"{name}\"") }),
            None => Ok(()),
        }
    }

    /// The MAC address of an endpoint without IPv4; another where somebody has chosen that one.
    fn free_mac(&self, number: u32) -> Mac {
        let is_taken = |mac: &Mac| self.endpoints.iter().any(|(_, _, other)| other == mac);
        Mac::of_endpoint(number).find(|mac| !is_taken(mac)).unwrap_or(Mac([0; 6]))
    }

    fn holder_of(&self, mac: Mac, gateway: Mac) -> Option<String> {
        if mac == gateway {
            return Some("the network's gateway".to_owned());
        }
        let (name, _, _) = self.endpoints.iter().find(|&&(_, _, other)| other == mac)?;
        Some(format!("container \"{name}\""))
    }
}
