//! What does each JSON record of the API look like?
//!
//! The names are a contract with scripts: a field may be added, none may be renamed or left out. What is not set is null
//! or empty, never missing. `netctl` reads the same types.

use crate::events::{object_kind, publish_name};
use crate::files::Paths;
use crate::kernel::facts::NodeFacts;
use crate::model::family::Family;
use crate::model::node::XdpMode;
use crate::model::prefix::{Prefix, Prefixes};
use crate::model::state::{Container, Driver, Mac, Mode, Network, Protocol, Publish, PublishKey, State};
use crate::reconcile::status::{Object, Status};
use crate::shortage::{Degree, Shortage};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// MTU where neither the network nor an uplink names one: Ethernet's (RFC 894).
const MTU_DEFAULT: u32 = 1500;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub version: String,
    pub abi: u32,
    pub instance: String,
}

/// How an object is doing, from well to not well at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// The kernel has it.
    Ready,
    /// The kernel has not been brought to the newest revision yet.
    Pending,
    /// Of what the datapath works with little is left.
    NearlyFull,
    /// None is left.
    Full,
    /// Some was asked for and not had.
    Exhausted,
    /// The kernel refuses, or the host lacks what was asked for; it is tried again.
    Failing,
}

impl Health {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Pending => "pending",
            Self::Failing => "failing",
            Self::Exhausted => "exhausted",
            Self::Full => "full",
            Self::NearlyFull => "nearly-full",
        }
    }

    fn of(view: &View, objects: &[Object]) -> Self {
        if objects.iter().any(|object| view.status.failing.contains_key(object)) {
            Self::Failing
        } else if view.status.observed_revision < view.state.revision {
            Self::Pending
        } else {
            Self::Ready
        }
    }
}

/// All that records are made of, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub state: &'a State,
    pub status: &'a Status,
    pub facts: &'a NodeFacts,
    pub netns_dir: &'a Path,
    pub files: &'a Path,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub name: String,
    pub id: String,
    /// The file by which its namespace is entered.
    pub netns: PathBuf,
    pub mode: Mode,
    pub hostname: String,
    pub created: jiff::Timestamp,
    pub labels: BTreeMap<String, String>,
    pub endpoints: Vec<EndpointRecord>,
    pub publishes: Vec<ContainerPublishRecord>,
    pub dns: Vec<IpAddr>,
    pub resolv_conf_path: Option<PathBuf>,
    pub hosts_path: Option<PathBuf>,
    pub hostname_path: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    pub network: String,
    pub interface: String,
    pub host_interface: String,
    pub ipv4: Option<IpNetwork>,
    pub ipv6: Option<IpNetwork>,
    /// That of IPv4, or, where there is none, of IPv6.
    pub gateway: Option<IpAddr>,
    pub gateway6: Option<IpAddr>,
    pub mac: Mac,
    pub aliases: Vec<String>,
    /// Bytes.
    pub mtu: u32,
    pub status: Health,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPublishRecord {
    pub host_ip: IpAddr,
    /// `::` where every IPv6 address of the host is meant beside `host_ip`, since none was named; else null.
    pub host_ip6: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
    /// The clients that it is open to; empty: everybody.
    pub allow: Prefixes,
    pub status: Health,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRecord {
    pub container: String,
    pub host_ip: IpAddr,
    /// As in [`ContainerPublishRecord`].
    pub host_ip6: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
    /// The clients that it is open to; empty: everybody.
    pub allow: Prefixes,
    pub status: Health,
}

/// One prefix of the block list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    pub prefix: Prefix,
    pub status: Health,
}

/// What became of the block list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksChangedRecord {
    /// Prefixes that were put on it, or taken off.
    pub changed: usize,
    /// Prefixes on it now.
    pub blocked: usize,
    /// What the caller may not have meant.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    pub name: String,
    pub id: String,
    pub driver: Driver,
    pub subnets: Vec<SubnetRecord>,
    pub internal: bool,
    pub icc: bool,
    pub masquerade: bool,
    /// Bytes; null: that of the uplink.
    pub mtu: Option<u32>,
    pub parent: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub created: jiff::Timestamp,
    pub containers: Vec<MemberRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRecord {
    pub subnet: IpNetwork,
    pub gateway: IpAddr,
    pub ip_range: Option<IpNetwork>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    pub name: String,
    pub interface: String,
    pub ipv4: Option<IpNetwork>,
    pub ipv6: Option<IpNetwork>,
    pub mac: Mac,
    pub aliases: Vec<String>,
}

/// One tracked flow, as its opener sees it; the counts are of both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Null for the host's own, and while a container that is gone still has flows.
    pub container: Option<String>,
    pub protocol: String,
    pub state: String,
    pub source: String,
    pub destination: String,
    pub translated_source: String,
    pub translated_destination: String,
    pub packets: u64,
    pub bytes: u64,
    pub age_s: u64,
    pub idle_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsRecord {
    pub hook: String,
    /// `passed`, `redirected`, `answered`, or a drop reason.
    pub outcome: String,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRecord {
    pub revision: u64,
    pub observed_revision: u64,
    /// Those that are not ready.
    pub objects: Vec<ObjectRecord>,
    pub uplinks: Vec<String>,
    /// In which mode the block list is held up at each uplink; null: it is not.
    pub xdp: BTreeMap<String, Option<XdpMode>>,
    pub maps: Vec<MapRecord>,
    pub version: String,
    pub abi: u32,
    pub instance: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    pub kind: String,
    pub name: String,
    pub status: Health,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRecord {
    pub name: String,
    pub entries: u64,
    pub max: u64,
}

/// What `DELETE /v1/flows` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedRecord {
    /// Connections that are forgotten.
    pub flushed: u64,
}

/// Names that a command did something to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedRecord {
    pub removed: Vec<String>,
}

impl View<'_> {
    #[must_use]
    pub fn container(&self, container: &Container) -> ContainerRecord {
        let own = Object::Container(container.name.clone());
        let endpoints = container.endpoints.iter().map(|endpoint| {
            let network = self.state.networks.get(&endpoint.network);
            let gateway = |family| Some(network?.subnet(family)?.gateway);
            EndpointRecord {
                network: endpoint.network.clone(),
                interface: endpoint.interface.clone(),
                host_interface: endpoint.host_interface.clone(),
                ipv4: endpoint.ipv4,
                ipv6: endpoint.ipv6,
                gateway: gateway(Family::V4).or_else(|| gateway(Family::V6)),
                gateway6: gateway(Family::V6),
                mac: endpoint.mac,
                aliases: endpoint.aliases.clone(),
                mtu: network.map_or_else(|| self.uplink_mtu(), |network| network.mtu(self.uplink_mtu())),
                status: Health::of(self, std::slice::from_ref(&own)),
            }
        });
        let publishes = self.state.publishes.iter().filter(|(_, publish)| publish.container == container.name);
        let paths = Paths::of(self.files, container);
        ContainerRecord {
            name: container.name.clone(),
            id: container.id.clone(),
            netns: self.netns(container),
            mode: container.mode,
            hostname: container.hostname.clone(),
            created: container.created,
            labels: container.labels.clone(),
            endpoints: endpoints.collect(),
            publishes: publishes
                .map(|(key, publish)| {
                    let PublishRecord {
                        container: _,
                        host_ip,
                        host_ip6,
                        host_port,
                        container_port,
                        protocol,
                        allow,
                        status,
                    } = self.publish(key, publish);
                    ContainerPublishRecord { host_ip, host_ip6, host_port, container_port, protocol, allow, status }
                })
                .collect(),
            dns: container.dns.clone(),
            resolv_conf_path: paths.as_ref().map(|paths| paths.resolv_conf.clone()),
            hosts_path: paths.as_ref().map(|paths| paths.hosts.clone()),
            hostname_path: paths.map(|paths| paths.hostname),
        }
    }

    #[must_use]
    pub fn publish(&self, key: &PublishKey, publish: &Publish) -> PublishRecord {
        PublishRecord {
            container: publish.container.clone(),
            host_ip: key.host_ip,
            host_ip6: publish.ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            host_port: key.host_port,
            container_port: publish.container_port,
            protocol: key.protocol,
            allow: self.state.allow_lists.get(&publish.allow).cloned().unwrap_or_default(),
            status: Health::of(self, &[Object::Publish(*key), Object::Container(publish.container.clone())]),
        }
    }

    /// How the block list is doing, on all uplinks.
    #[must_use]
    pub fn blocks(&self) -> Health {
        let uplinks = self.facts.uplinks.keys().cloned().map(Object::Uplink);
        Health::of(self, &[Object::BlockList].into_iter().chain(uplinks).collect::<Vec<_>>())
    }

    #[must_use]
    pub fn network(&self, network: &Network) -> NetworkRecord {
        let members = self.state.containers.values().flat_map(|container| {
            container.endpoints.iter().filter(|endpoint| endpoint.network == network.name).map(|endpoint| {
                MemberRecord {
                    name: container.name.clone(),
                    interface: endpoint.interface.clone(),
                    ipv4: endpoint.ipv4,
                    ipv6: endpoint.ipv6,
                    mac: endpoint.mac,
                    aliases: endpoint.aliases.clone(),
                }
            })
        });
        let subnets = network.subnets.iter().map(|subnet| SubnetRecord {
            subnet: subnet.subnet,
            gateway: subnet.gateway,
            ip_range: subnet.ip_range,
            aux_addresses: subnet.aux_addresses.clone(),
        });
        NetworkRecord {
            name: network.name.clone(),
            id: network.id.clone(),
            driver: network.driver,
            subnets: subnets.collect(),
            internal: network.internal,
            icc: network.icc,
            masquerade: network.masquerade,
            mtu: network.mtu,
            parent: None,
            labels: network.labels.clone(),
            options: network.options.clone(),
            created: network.created,
            containers: members.collect(),
        }
    }

    /// Every object that is not ready, and why.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectRecord> {
        let record = |(object, reason): (&Object, &String)| ObjectRecord {
            kind: object_kind(object).to_owned(),
            name: match object {
                Object::Node | Object::BlockList => String::new(),
                Object::Uplink(name) | Object::Network(name) | Object::Container(name) => name.clone(),
                Object::Publish(key) => publish_name(key),
            },
            status: Health::Failing,
            reason: reason.clone(),
        };
        self.status.failing.iter().map(record).collect()
    }

    /// What there is too little of, as an object that is not ready.
    #[must_use]
    pub fn shortage(shortage: &Shortage) -> ObjectRecord {
        ObjectRecord {
            kind: shortage.kind.name().to_owned(),
            name: shortage.name.clone(),
            status: match shortage.degree {
                Degree::Exhausted => Health::Exhausted,
                Degree::Full => Health::Full,
                Degree::NearlyFull => Health::NearlyFull,
            },
            reason: shortage.reason.clone(),
        }
    }

    /// The file by which a container's namespace is entered. For one on the host's network that is netd's own.
    #[must_use]
    pub fn netns(&self, container: &Container) -> PathBuf {
        match (&container.netns, container.mode) {
            (Some(path), _) => path.clone(),
            (None, Mode::Host) => PathBuf::from(format!("/proc/{}/ns/net", std::process::id())),
            (None, Mode::Bridge | Mode::None) => self.netns_dir.join(&container.name),
        }
    }

    fn uplink_mtu(&self) -> u32 {
        self.facts.uplinks.values().map(|uplink| uplink.mtu).min().unwrap_or(MTU_DEFAULT)
    }
}
