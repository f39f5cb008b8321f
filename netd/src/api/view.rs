//! How do the records come from what netd knows?

use super::records::{
    ContainerPublishRecord, ContainerRecord, EndpointRecord, Health, MemberRecord, NetworkRecord, ObjectRecord,
    PublishRecord, SubnetRecord,
};
use crate::events::{object_kind, publish_name};
use crate::files::Paths;
use crate::kernel::facts::NodeFacts;
use crate::model::family::Family;
use crate::model::state::{Container, Endpoint, Mac, Mode, Network, Publish, PublishKey, State};
use crate::reconcile::status::{Object, Status};
use crate::shortage::{Degree, Shortage};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// MTU where neither the network nor an uplink names one: Ethernet's (RFC 894).
const MTU_DEFAULT: u32 = 1500;

/// All that records are made of, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub state: &'a State,
    pub status: &'a Status,
    pub facts: &'a NodeFacts,
    pub netns_dir: &'a Path,
    pub files: &'a Path,
}

impl View<'_> {
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerRecord> {
        let mut ports: BTreeMap<&str, Vec<(&PublishKey, &Publish)>> = BTreeMap::new();
        for (key, publish) in &self.state.publishes {
            ports.entry(&publish.container).or_default().push((key, publish));
        }
        let containers = self.state.containers.values();
        containers.map(|own| self.with_ports(own, &ports.remove(own.name.as_str()).unwrap_or_default())).collect()
    }

    #[must_use]
    pub fn container(&self, container: &Container) -> ContainerRecord {
        let own = self.state.publishes.iter().filter(|(_, publish)| publish.container == container.name);
        self.with_ports(container, &own.map(|(key, publish)| (key, publish.as_ref())).collect::<Vec<_>>())
    }

    fn with_ports(&self, container: &Container, ports: &[(&PublishKey, &Publish)]) -> ContainerRecord {
        let own = Object::Container(container.name.clone());
        let endpoints = container.endpoints.iter().map(|endpoint| {
            let network = self.state.networks.get(&endpoint.network);
            let on_wire = network.and_then(|network| network.parent.as_ref());
            let gateway = |family| Some(network?.subnet(family)?.gateway);
            EndpointRecord {
                network: endpoint.network.clone(),
                interface: endpoint.interface.clone(),
                // On a parent's wire there is nothing on the host.
                host_interface: on_wire.map_or_else(|| endpoint.host_interface.clone(), |_| String::new()),
                ipv4: endpoint.ipv4,
                ipv6: endpoint.ipv6,
                gateway: gateway(Family::V4).or_else(|| gateway(Family::V6)),
                gateway6: gateway(Family::V6),
                mac: self.mac(endpoint),
                aliases: endpoint.aliases.clone(),
                gw_priority: endpoint.gw_priority,
                mtu: network.map_or_else(|| self.uplink_mtu(), |network| self.mtu(network)),
                status: self.health(std::slice::from_ref(&own)),
            }
        });
        let paths = match container.mode {
            Mode::Container => self.shared(container).and_then(|other| Paths::of(self.files, other)),
            Mode::Bridge | Mode::Host | Mode::None => Paths::of(self.files, container),
        };
        ContainerRecord {
            name: container.name.clone(),
            id: container.id.clone(),
            netns: self.netns(container),
            netns_given: container.netns.is_some(),
            mode: container.mode,
            shares: container.shares.as_ref().map(|shared| shared.name.clone()),
            router: container.router,
            exposed: container.exposed.iter().copied().collect(),
            hostname: container.hostname.clone(),
            created: container.created,
            labels: container.labels.clone(),
            status: self.health(std::slice::from_ref(&own)),
            endpoints: endpoints.collect(),
            publishes: ports
                .iter()
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
            dns_search: container.dns_search.clone(),
            dns_options: container.dns_options.clone(),
            extra_hosts: container.extra_hosts.clone(),
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
            status: self.health(&[Object::Publish(*key), Object::Container(publish.container.clone())]),
        }
    }

    /// How the block list is doing, on all uplinks.
    #[must_use]
    pub fn blocks(&self) -> Health {
        let uplinks = self.facts.uplinks.keys().cloned().map(Object::Uplink);
        self.health(&[Object::BlockList].into_iter().chain(uplinks).collect::<Vec<_>>())
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
                    mac: self.mac(endpoint),
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
            parent: network.parent.as_ref().map(|parent| parent.interface.clone()),
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

    /// The container whose namespace and files another shares, while that lives.
    fn shared(&self, container: &Container) -> Option<&Container> {
        self.state.shared(container.shares.as_ref()?)
    }

    /// The file by which a container's namespace is entered. For one on the host's network that is netd's own; for one
    /// that shared the namespace of a container that is gone, none.
    #[must_use]
    pub fn netns(&self, container: &Container) -> PathBuf {
        match (&container.netns, container.mode) {
            (Some(path), _) => path.clone(),
            (None, Mode::Host) => PathBuf::from(format!("/proc/{}/ns/net", std::process::id())),
            (None, Mode::Container) => self.shared(container).map(|other| self.netns(other)).unwrap_or_default(),
            (None, Mode::Bridge | Mode::None) => self.netns_dir.join(&container.name),
        }
    }

    /// That of the parent, where its containers have that.
    fn mac(&self, endpoint: &Endpoint) -> Mac {
        let parent = self.state.networks.get(&endpoint.network).and_then(|network| network.parent.as_ref());
        let of_parent = parent.filter(|parent| parent.wire.has_parents_mac()).and_then(|parent| parent.on(self.facts));
        of_parent.map_or(endpoint.mac, |interface| Mac(interface.mac))
    }

    fn mtu(&self, network: &Network) -> u32 {
        let of_parent = network.parent.as_ref().and_then(|parent| parent.on(self.facts));
        network.mtu(self.uplink_mtu(), of_parent.map(|interface| interface.mtu))
    }

    fn uplink_mtu(&self) -> u32 {
        self.facts.uplinks.values().map(|uplink| uplink.mtu).min().unwrap_or(MTU_DEFAULT)
    }

    fn health(&self, objects: &[Object]) -> Health {
        if objects.iter().any(|object| self.status.failing.contains_key(object)) {
            Health::Failing
        } else if self.status.observed_revision < self.state.revision {
            Health::Pending
        } else {
            Health::Ready
        }
    }
}
