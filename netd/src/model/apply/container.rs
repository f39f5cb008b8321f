//! When does a container come and go?

use super::network::BRIDGE;
use super::{Effect, check_name, identifier, take_number};
use crate::model::command::{ContainerSpec, Context, NamespaceAt};
use crate::model::ipam;
use crate::model::refusal::{Kind, Refusal};
use crate::model::state::{Container, Driver, Endpoint, Mac, Mode, Network, State, Subnet};
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

impl State {
    pub(super) fn create_container(&mut self, spec: &ContainerSpec, context: &Context) -> Result<Effect, Refusal> {
        self.check_names(spec)?;
        let (mode, networks) = self.networks_of(spec)?;
        self.check_namespace(spec, mode, context)?;
        check_addresses(spec, mode, &networks)?;

        let mut endpoints = Vec::with_capacity(networks.len());
        for (index, network) in networks.iter().enumerate() {
            // What the user chose is for the first network.
            let (ip, mac) = if index == 0 { (spec.ip, spec.mac) } else { (None, None) };
            endpoints.push(self.plug_in(spec, network, index, ip, mac)?);
        }
        let container = Container {
            name: spec.name.clone(),
            id: identifier(context, 0),
            mode,
            netns: spec.netns.clone(),
            hostname: spec.hostname.clone().unwrap_or_else(|| spec.name.clone()),
            dns: spec.dns.clone(),
            labels: spec.labels.clone(),
            created: context.now,
            endpoints,
        };
        self.containers.insert(spec.name.clone(), container);
        self.publish(&spec.name, &spec.publish, context)?;
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
                Driver::Bridge => continue,
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

    /// Makes the endpoint: the number, the address and the MAC are taken.
    fn plug_in(
        &mut self,
        spec: &ContainerSpec,
        network: &str,
        index: usize,
        ip: Option<IpAddr>,
        mac: Option<Mac>,
    ) -> Result<Endpoint, Refusal> {
        let number = take_number(&mut self.next_endpoint, Kind::Container)?;
        let neighbours = Neighbours::of(self, network);
        let subnet_v4 = |subnet: &&mut Subnet| subnet.subnet.is_ipv4();
        let subnets = self.networks.get_mut(network).map(|network| &mut network.subnets);
        let subnet = subnets.into_iter().flatten().find(subnet_v4).ok_or_else(|| Refusal::BadNetwork {
            network: network.to_owned(),
            what: "it has no IPv4 subnet".to_owned(),
        })?;
        let address = if let Some(ip) = ip {
            neighbours.check(ip, subnet)?
        } else {
            let range = subnet.ip_range.unwrap_or(subnet.subnet);
            let address = ipam::next_address(subnet, &neighbours.passed_over)
                .ok_or_else(|| Refusal::AddressesUsedUp { network: network.to_owned(), range })?;
            subnet.last = Some(address.into());
            address
        };
        let mac = mac.unwrap_or_else(|| Mac::of(address));
        let (gateway, prefix) = (subnet.gateway, subnet.subnet.prefix());
        if let Some(by) = neighbours.holder_of(mac, gateway) {
            return Err(Refusal::MacTaken { mac, network: network.to_owned(), by });
        }
        Ok(Endpoint {
            number,
            network: network.to_owned(),
            interface: format!("eth{index}"),
            host_interface: format!("nd{number:x}"),
            mac,
            ipv4: IpNetwork::new(address.into(), prefix).ok(),
            ipv6: None,
            aliases: spec.aliases.clone(),
        })
    }
}

/// What the user asked of addresses, as far as it can be judged without the subnets.
fn check_addresses(spec: &ContainerSpec, mode: Mode, networks: &[String]) -> Result<(), Refusal> {
    if let Some(ip6) = spec.ip6 {
        return Err(Refusal::Ipv6Unsupported { what: format!("address {ip6}") });
    }
    if let Some(ip) = spec.ip.filter(IpAddr::is_ipv6) {
        return Err(Refusal::Ipv6Unsupported { what: format!("address {ip}") });
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
        for (option, given) in
            [("--ip", spec.ip.is_some()), ("--mac", spec.mac.is_some()), ("--alias", !spec.aliases.is_empty())]
        {
            if given {
                return Err(Refusal::NeedsNetwork { option, network: network.to_owned() });
            }
        }
    }
    Ok(())
}

/// Who has which address on a network already.
struct Neighbours {
    network: String,
    /// Addresses not to be handed out: those taken, and those whose MAC address somebody has by the user's choice.
    passed_over: BTreeSet<IpAddr>,
    endpoints: Vec<(String, Option<IpAddr>, Mac)>,
}

impl Neighbours {
    fn of(state: &State, network: &str) -> Self {
        let endpoints: Vec<_> = state
            .containers
            .values()
            .flat_map(|container| container.endpoints.iter().map(move |endpoint| (container, endpoint)))
            .filter(|(_, endpoint)| endpoint.network == network)
            .map(|(container, endpoint)| (container.name.clone(), endpoint.ipv4.map(|ip| ip.ip()), endpoint.mac))
            .collect();
        let passed_over =
            endpoints.iter().flat_map(|&(_, address, mac)| address.into_iter().chain(mac.address())).collect();
        Self { network: network.to_owned(), passed_over, endpoints }
    }

    /// An address that the user chose.
    fn check(&self, address: IpAddr, subnet: &Subnet) -> Result<Ipv4Addr, Refusal> {
        let network = self.network.clone();
        let IpAddr::V4(v4) = address else {
            return Err(Refusal::Ipv6Unsupported { what: format!("address {address}") });
        };
        if !subnet.subnet.contains(address) {
            return Err(Refusal::AddressOutside { address, network, subnet: subnet.subnet });
        }
        if let Some(by) = ipam::reserved(subnet, address) {
            return Err(Refusal::AddressTaken { address, network, by });
        }
        match self.endpoints.iter().find(|&&(_, other, _)| other == Some(address)) {
            Some((name, _, _)) => Err(Refusal::AddressTaken { address, network, by: format!("container \"{name}\"") }),
            None => Ok(v4),
        }
    }

    fn holder_of(&self, mac: Mac, gateway: IpAddr) -> Option<String> {
        if Some(mac) == Mac::of_gateway(gateway) {
            return Some("the network's gateway".to_owned());
        }
        let (name, _, _) = self.endpoints.iter().find(|&&(_, _, other)| other == mac)?;
        Some(format!("container \"{name}\""))
    }
}

impl Mac {
    /// The MAC address that goes with an IPv4 address: the same after every restart, and another for each address.
    /// Locally administered and unicast (IEEE 802, section 8.4).
    #[must_use]
    pub const fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address that this goes with, if it goes with one.
    #[must_use]
    pub const fn address(self) -> Option<IpAddr> {
        match self.0 {
            [0x02, 0x42, a, b, c, d] => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            _chosen => None,
        }
    }

    /// What a network's gateway answers with; none for IPv6, whose gateway has no address of its own yet.
    #[must_use]
    pub const fn of_gateway(gateway: IpAddr) -> Option<Self> {
        match gateway {
            IpAddr::V4(gateway) => Some(Self::of(gateway)),
            IpAddr::V6(_) => None,
        }
    }
}

impl Container {
    /// The endpoint that published ports lead to: the first that the outside can reach.
    ///
    /// # Errors
    /// When there is none.
    pub fn published_endpoint<'a>(&'a self, state: &'a State) -> Result<&'a Endpoint, Refusal> {
        let outside = |endpoint: &&Endpoint| state.networks.get(&endpoint.network).is_some_and(Network::is_outside);
        let why = match self.mode {
            Mode::Host => "it is on the host's own network, where its ports answer already",
            Mode::None => "it is on no network",
            Mode::Bridge => "it is only on internal networks",
        };
        let refused = || Refusal::NoAddress { container: self.name.clone(), why };
        self.endpoints.iter().filter(|endpoint| endpoint.ipv4.is_some()).find(outside).ok_or_else(refused)
    }
}

impl Network {
    /// Whether its containers reach the outside, and are reached from it.
    #[must_use]
    pub const fn is_outside(&self) -> bool {
        !self.internal
    }
}
