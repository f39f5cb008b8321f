//! How is each object doing?

use super::lower::namespace;
use super::op::Op;
use super::target::{Attachment, Route};
use crate::model::state::{Mode, Protocol, PublishKey, State};
use ipnetwork::IpNetwork;
use netd_common::endpoint::{EndpointKey, PoolKey};
use netd_common::publish;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// An object as a user names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// What belongs to nothing else: programs on the cgroup, the host's addresses.
    Node,
    /// The block list, as the programs know it.
    BlockList,
    /// The programs on an uplink.
    Uplink(String),
    Network(String),
    Container(String),
    Publish(PublishKey),
}

/// What the reconciler publishes after each pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The revision that the last pass worked on. Objects of it that are not in `failing` are ready.
    pub observed_revision: u64,
    /// What went wrong, or is not there to be had, by object; an object that is ready is not here.
    pub failing: BTreeMap<Object, String>,
}

/// Whose the things in the kernel are. Made only when something fails.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Containers by what is theirs.
    links: BTreeMap<String, String>,
    namespaces: BTreeMap<PathBuf, String>,
    addresses: BTreeMap<EndpointKey, String>,
    macs: BTreeMap<(u32, [u8; 6]), String>,
    /// Containers and networks.
    prefixes: BTreeMap<IpNetwork, Object>,
    gateways: BTreeMap<IpAddr, String>,
    /// Networks by their parents.
    parents: BTreeMap<String, String>,
    /// Ports that are published at every address, by their IPv6 half.
    everywhere: BTreeMap<PublishKey, PublishKey>,
    /// Networks by their numbers.
    networks: BTreeMap<u32, String>,
    /// The first port of each allow list.
    lists: BTreeMap<u32, PublishKey>,
}

impl Owners {
    #[must_use]
    pub fn of(state: &State, netns_dir: &Path) -> Self {
        let mut owners = Self::default();
        for network in state.networks.values() {
            owners.networks.insert(network.number, network.name.clone());
            if let Some(parent) = &network.parent {
                owners.parents.insert(parent.interface.clone(), network.name.clone());
                continue;
            }
            for subnet in &network.subnets {
                owners.gateways.insert(subnet.gateway, network.name.clone());
                owners.prefixes.insert(subnet.subnet, Object::Network(network.name.clone()));
            }
        }
        for (key, publish) in &state.publishes {
            owners.lists.entry(publish.allow).or_insert(*key);
        }
        for container in state.containers.values() {
            let name = || container.name.clone();
            if matches!(container.mode, Mode::Bridge | Mode::None) {
                owners.namespaces.insert(namespace(container, netns_dir), name());
            }
            for endpoint in &container.endpoints {
                owners.links.insert(endpoint.host_interface.clone(), name());
                let Some(network) = state.networks.get(&endpoint.network) else { continue };
                owners.macs.insert((network.number, endpoint.mac.0), name());
                let link_local = endpoint.link_local().map(|address| address.ip());
                for address in endpoint.addresses().chain(link_local) {
                    let key = EndpointKey { address: address.into(), network: network.number };
                    owners.addresses.insert(key, name());
                }
                let own = endpoint.addresses().map(|address| (address.into(), Object::Container(name())));
                owners.prefixes.extend(own);
            }
        }
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let everywhere = state.publishes.iter().filter(|(_, publish)| publish.ipv6);
        owners.everywhere.extend(everywhere.map(|(key, _)| (PublishKey { host_ip: any, ..*key }, *key)));
        owners
    }

    /// The object that a step is about; none when it is none of this state's.
    #[must_use]
    pub fn object_of(&self, op: &Op) -> Option<Object> {
        let container = |name: Option<&String>| name.cloned().map(Object::Container);
        match op {
            Op::RemovePublish(key) | Op::SetPublish(key, _) => {
                let key = published(key)?;
                Some(Object::Publish(self.everywhere.get(&key).copied().unwrap_or(key)))
            }
            Op::RemoveEndpoint(key) | Op::SetEndpoint(key, _) => container(self.addresses.get(key)),
            Op::RemovePort(link)
            | Op::SetPort(link, _)
            | Op::DeleteLink(link)
            | Op::CreateLink(link, _)
            | Op::ConfigureLink(link, _)
            | Op::SetRoute(_, Route::Endpoint { link, .. }) => container(self.links.get(link)),
            Op::RemoveFdb(network, mac) | Op::SetFdb(network, mac, _) => container(self.macs.get(&(*network, *mac))),
            Op::CreateNamespace(path, _) | Op::DeleteNamespace(path) | Op::OpenNames(path) | Op::CloseNames(path) => {
                container(self.namespaces.get(path))
            }
            Op::DeleteRoute(prefix) | Op::SetRoute(prefix, Route::Unreachable) => self.prefixes.get(prefix).cloned(),
            Op::AddGateway(gateway) | Op::DeleteGateway(gateway) => {
                self.gateways.get(gateway).cloned().map(Object::Network)
            }
            Op::SetVlan(name, _) | Op::DeleteVlan(name) => self.parents.get(name).cloned().map(Object::Network),
            Op::SetTimeouts(network, _)
            | Op::RemoveTimeouts(network)
            | Op::SetPooled(PoolKey { network, .. }, _)
            | Op::RemovePooled(PoolKey { network, .. }) => self.networks.get(network).cloned().map(Object::Network),
            Op::Allow(list, _) | Op::Disallow(list, _) => {
                self.lists.get(list).map(|key| Object::Publish(*key)).or(Some(Object::Node))
            }
            Op::Attach(attachment) | Op::Detach(attachment) | Op::Renew(attachment) => Some(match attachment {
                Attachment::ContainerEgress(link) => return container(self.links.get(link)),
                Attachment::UplinkIngress(name) | Attachment::UplinkEgress(name) | Attachment::XdpGuard(name) => {
                    Object::Uplink(name.clone())
                }
                Attachment::SockAddr(_) => Object::Node,
            }),
            Op::RemoveUplink(name) | Op::SetUplink(name, _) => Some(Object::Uplink(name.clone())),
            Op::Block(_) | Op::Unblock(_) => Some(Object::BlockList),
            Op::RemoveLocalAddress(_) | Op::SetLocalAddress(_) | Op::PurgeFlows(_) | Op::PurgeSources(_) => {
                Some(Object::Node)
            }
        }
    }
}

fn published(key: &publish::PublishKey) -> Option<PublishKey> {
    let protocol = match key.protocol {
        publish::TCP => Protocol::Tcp,
        publish::UDP => Protocol::Udp,
        publish::SCTP => Protocol::Sctp,
        _unknown => return None,
    };
    Some(PublishKey { host_ip: key.address.into(), protocol, host_port: key.port })
}
