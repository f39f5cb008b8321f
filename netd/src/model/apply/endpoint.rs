//! What does a container get on a network?

use super::{check_name, take_number};
use crate::model::attach::Attach;
use crate::model::family::Family;
use crate::model::ipam;
use crate::model::refusal::{Kind, Refusal};
use crate::model::state::{Container, Endpoint, Mac, State, Subnet};
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

impl State {
    /// Makes the endpoint: the number, the addresses and the MAC are taken. `interface` is its name in the container.
    pub(super) fn plug_in(&mut self, attach: &Attach, interface: String) -> Result<Endpoint, Refusal> {
        check(attach)?;
        let network = &attach.network;
        self.check_wire(network, attach.mac)?;
        let number = take_number(&mut self.next_endpoint, Kind::Container)?;
        let neighbours = Neighbours::of(self, network);
        let ipv4 = self.take_address(network, Family::V4, "--ip", attach.ip, &neighbours)?;
        let ipv6 = self.take_address(network, Family::V6, "--ip6", attach.ip6, &neighbours)?;
        let gateway_mac = self.network(network)?.gateway_mac();
        let mac = attach.mac.unwrap_or_else(|| match ipv4.map(|ipv4| ipv4.ip()) {
            Some(IpAddr::V4(ipv4)) => Mac::of(ipv4),
            Some(IpAddr::V6(_)) | None => neighbours.free_mac(number),
        });
        if let Some(by) = neighbours.holder_of(mac, gateway_mac) {
            return Err(Refusal::MacTaken { mac, network: network.clone(), by });
        }
        Ok(Endpoint {
            number,
            network: network.clone(),
            interface,
            host_interface: format!("nd{number:x}"),
            mac,
            ipv4,
            ipv6,
            aliases: attach.aliases.clone(),
            gw_priority: attach.gw_priority,
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
        let subnets = self.networks.get_mut(network).map(|network| &mut Arc::make_mut(network).subnets);
        let Some(subnet) = subnets.into_iter().flatten().find(|subnet| Family::of(subnet.gateway) == family) else {
            let no_subnet = |address| Refusal::NoSubnet { network: network.to_owned(), option, family, address };
            return chosen.map_or(Ok(None), |address| Err(no_subnet(address)));
        };
        let address = if let Some(address) = chosen {
            neighbours.check(address, subnet)?;
            address
        } else {
            let range = subnet.ip_range.unwrap_or(subnet.subnet);
            let next = neighbours.next_address(subnet);
            let used_up = || Refusal::AddressesUsedUp { network: network.to_owned(), range };
            *subnet.last.insert(next.ok_or_else(used_up)?)
        };
        Ok(IpNetwork::new(address, subnet.subnet.prefix()).ok())
    }
}

/// What the user asked of addresses, as far as it can be judged without the subnets.
pub(super) fn check(attach: &Attach) -> Result<(), Refusal> {
    for alias in &attach.aliases {
        check_name(Kind::Alias, alias)?;
    }
    if let Some(address) = attach.ip.filter(IpAddr::is_ipv6) {
        return Err(Refusal::OtherFamily { address, instead: "--ip6" });
    }
    if let Some(address) = attach.ip6.filter(IpAddr::is_ipv4) {
        return Err(Refusal::OtherFamily { address, instead: "--ip" });
    }
    if let Some(mac) = attach.mac {
        let [first, ..] = mac.0;
        if mac.0 == [0; 6] {
            return Err(Refusal::BadMac { mac, why: "all zero" });
        }
        if first & 1 != 0 {
            return Err(Refusal::BadMac { mac, why: "a group's" });
        }
    }
    Ok(())
}

/// Who has which address on a network already.
struct Neighbours {
    network: String,
    containers: Vec<Arc<Container>>,
}

impl Neighbours {
    fn of(state: &State, network: &str) -> Self {
        let is_on =
            |container: &&Arc<Container>| container.endpoints.iter().any(|endpoint| endpoint.network == network);
        let containers = state.containers.values().filter(is_on).cloned().collect();
        Self { network: network.to_owned(), containers }
    }

    /// The endpoints on the network, each with its container's name.
    fn endpoints(&self) -> impl Iterator<Item = (&str, &Endpoint)> {
        let of = |container| {
            let Container { name, endpoints, .. } = Arc::as_ref(container);
            endpoints.iter().map(move |endpoint| (name.as_str(), endpoint))
        };
        self.containers.iter().flat_map(of).filter(|(_, endpoint)| endpoint.network == self.network)
    }

    /// Addresses not to be handed out: those taken, and those whose MAC address somebody has by the user's choice.
    fn passed_over(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints().flat_map(|(_, endpoint)| endpoint.addresses().chain(endpoint.mac.address()))
    }

    /// The next address to be handed out. Mostly it is the one behind the last, and a set of all that are taken is not
    /// needed.
    fn next_address(&self, subnet: &Subnet) -> Option<IpAddr> {
        let next = ipam::next_address(subnet, &BTreeSet::new())?;
        if self.passed_over().all(|other| other != next) {
            return Some(next);
        }
        ipam::next_address(subnet, &self.passed_over().collect())
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
        match self.endpoints().find(|(_, endpoint)| endpoint.addresses().any(|other| other == address)) {
            Some((name, _)) => Err(Refusal::AddressTaken { address, network, by: format!("container \"{name}\"") }),
            None => Ok(()),
        }
    }

    /// The MAC address of an endpoint without IPv4; another where somebody has chosen that one.
    fn free_mac(&self, number: u32) -> Mac {
        let is_taken = |mac: &Mac| self.endpoints().any(|(_, endpoint)| endpoint.mac == *mac);
        Mac::of_endpoint(number).find(|mac| !is_taken(mac)).unwrap_or(Mac([0; 6]))
    }

    fn holder_of(&self, mac: Mac, gateway: Mac) -> Option<String> {
        if mac == gateway {
            return Some("the network's gateway".to_owned());
        }
        let (name, _) = self.endpoints().find(|(_, endpoint)| endpoint.mac == mac)?;
        Some(format!("container \"{name}\""))
    }
}
