//! What has to be done so that netd has what the file says?
//!
//! A pure function of the file and of what netd lists. Everything is one transaction in the end: what is in the way goes
//! first, then networks, containers and ports come, those with chosen addresses and ports before those for which netd picks.

use super::around::{Around, Live};
use super::change::{Action, Change, Difference, Kind, Phase};
use super::differs::{self, Place, attachments};
use super::file::{File, LABEL, WantedContainer};
use super::ports::{Compared, Port, compared, merged};
use netd::api::changes::OneChange;
use netd::api::networks::ConnectRequest;
use netd::api::publishes::{PublishRequest, UnpublishRequest};
use netd::api::records::{ContainerRecord, EndpointRecord};
use netd::model::attach::Attach;
use netd::model::command::Unpublish;
use netd::model::prefix::Prefix;
use std::collections::BTreeSet;

/// The difference between `file` and `live`.
///
/// # Errors
/// When something would have to be made anew that apply has not made, or that somebody else needs.
pub fn difference(file: &File, live: &Live, prune: bool) -> Result<Difference, String> {
    let around = Around::look(file, live, prune)?;
    let mut difference = Difference::default();
    around.networks(&mut difference);
    let ports = around.ports();
    around.containers(&mut difference, &ports);
    publishes(&mut difference, &ports);
    around.removals(&mut difference);
    Ok(difference)
}

/// The ports of a container of the file.
struct Ports<'a> {
    container: &'a str,
    compared: Compared,
    /// Of the extra ones, those that go.
    closed: Vec<Port>,
    /// And those that stay.
    kept: Vec<Port>,
}

impl<'a> Around<'a> {
    fn networks(&self, difference: &mut Difference) {
        for wanted in &self.file.networks {
            let name = wanted.spec.name.as_str();
            let mut spec = wanted.spec.clone();
            spec.labels.insert(LABEL.to_owned(), self.file.id.clone());
            let phase = if spec.subnets.is_empty() { Phase::CreateAutomatic } else { Phase::CreateNetwork };
            let create = (phase, OneChange::CreateNetwork(spec));
            let change = match (self.networks.get(name), self.new_networks.get(name)) {
                (None, _) => Change::new(Action::Create, Kind::Network, name, wanted.said.clone(), vec![create]),
                (Some(_), Some(differs)) => {
                    let remove = (Phase::RemoveNetwork, OneChange::RemoveNetworks(vec![name.to_owned()]));
                    Change::new(Action::Change, Kind::Network, name, anew(differs), vec![remove, create])
                }
                (Some(_), None) => continue,
            };
            difference.changes.push(change);
        }
    }

    fn containers(&self, difference: &mut Difference, ports: &[Ports<'_>]) {
        for wanted in &self.file.containers {
            let name = wanted.spec.name.as_str();
            match (self.containers.get(name), self.new_containers.get(name)) {
                (None, _) => {
                    let steps = vec![self.creation(wanted)];
                    difference.changes.push(Change::new(
                        Action::Create,
                        Kind::Container,
                        name,
                        wanted.said.clone(),
                        steps,
                    ));
                }
                (Some(_), Some(differs)) => {
                    let remove = (Phase::RemoveContainer, OneChange::RemoveContainers(vec![name.to_owned()]));
                    let mut steps = vec![remove, self.creation(wanted)];
                    steps.extend(again(name, ports));
                    difference.changes.push(Change::new(Action::Change, Kind::Container, name, anew(differs), steps));
                }
                (Some(there), None) => {
                    let rejoined = self.rejoined(wanted, there);
                    difference.changes.extend(rejoined.map(|change| {
                        let steps = change.steps.into_iter().chain(again(name, ports)).collect();
                        Change { steps, ..change }
                    }));
                }
            }
        }
    }

    fn creation(&self, wanted: &WantedContainer) -> (Phase, OneChange) {
        let mut spec = wanted.spec.clone();
        spec.labels.insert(LABEL.to_owned(), self.file.id.clone());
        let phase = match Place::of(&spec) {
            Place::Shared(_) => Phase::Share,
            Place::Own | Place::Host if attachments(&spec).iter().any(is_chosen) => Phase::JoinChosen,
            Place::Own | Place::Host => Phase::Join,
        };
        (phase, OneChange::CreateContainer(spec))
    }

    /// What a container has to leave and to join. A network that is joined comes behind those that are there, so those that
    /// stay are the ones that the list in the file begins with.
    fn rejoined(&self, wanted: &WantedContainer, there: &ContainerRecord) -> Option<Change> {
        if Place::of(&wanted.spec) != Place::Own {
            return None;
        }
        let name = &there.name;
        let attached = attachments(&wanted.spec);
        let stands = |endpoint: &EndpointRecord| !self.new_networks.contains_key(endpoint.network.as_str());
        let (mut next, mut left) = (attached.iter().peekable(), Vec::new());
        for endpoint in &there.endpoints {
            let is_it = |attach: &&Attach| {
                attach.network == endpoint.network && stands(endpoint) && differs::endpoint(attach, endpoint).is_empty()
            };
            if next.next_if(|attach| is_it(attach)).is_none() {
                left.push(endpoint);
            }
        }
        let joined: Vec<&Attach> = next.collect();
        let (mut details, mut steps) = (Vec::new(), Vec::new());
        for endpoint in &left {
            if !joined.iter().any(|attach| attach.network == endpoint.network) {
                details.push(format!("leaves {}", endpoint.network));
            }
            let (network, container) = (endpoint.network.clone(), name.clone());
            steps.push((Phase::Disconnect, OneChange::Disconnect { network, container }));
        }
        let mut joins = Vec::new();
        for attach in joined {
            let mut attach = attach.clone();
            let before = left.iter().find(|endpoint| endpoint.network == attach.network);
            details.push(match before {
                None => format!("joins {}", attach.network),
                Some(endpoint) if stands(endpoint) => {
                    let differs = differs::endpoint(&attach, endpoint);
                    let why = if differs.is_empty() { "in order".to_owned() } else { differs.join(", ") };
                    // It keeps the addresses that it was given.
                    attach.ip = attach.ip.or_else(|| endpoint.ipv4.map(|address| address.ip()));
                    attach.ip6 = attach.ip6.or_else(|| endpoint.ipv6.map(|address| address.ip()));
                    format!("joins {} again ({why})", attach.network)
                }
                Some(_) => format!("joins {} again (made anew)", attach.network),
            });
            joins.push(attach);
        }
        // Together, since their order counts.
        let phase = if joins.iter().any(is_chosen) { Phase::JoinChosen } else { Phase::Join };
        for Attach { network, ip, ip6, mac, aliases, gw_priority } in joins {
            let request = ConnectRequest { container: name.clone(), ip, ip6, mac, aliases, gw_priority };
            steps.push((phase, OneChange::Connect { network, request }));
        }
        let is_same = details.is_empty();
        (!is_same).then(|| Change::new(Action::Change, Kind::Container, name, details.join(", "), steps))
    }

    fn ports(&self) -> Vec<Ports<'a>> {
        let of = |wanted: &'a WantedContainer| {
            let name = wanted.spec.name.as_str();
            let there = self.containers.get(name).map_or(&[][..], |there| &there.publishes);
            Ports { container: name, compared: compared(&wanted.ports, there), closed: Vec::new(), kept: Vec::new() }
        };
        let mut all: Vec<Ports<'a>> = self.file.containers.iter().map(of).collect();
        let new: Vec<(&str, Port)> = all
            .iter()
            .flat_map(|ports| ports.compared.new.iter().map(|port| (ports.container, port.clone())))
            .collect();
        for ports in &mut all {
            let owner = ports.container;
            // What is made anew is as the file says.
            let is_new = self.new_containers.contains_key(owner);
            let goes = |port: &Port| {
                self.prune || is_new || new.iter().any(|(by, new)| port.is_in_the_way_of(new, *by == owner))
            };
            let extra = std::mem::take(&mut ports.compared.extra);
            (ports.closed, ports.kept) = extra.into_iter().partition(goes);
        }
        all
    }

    fn removals(&self, difference: &mut Difference) {
        for (kind, names) in [(Kind::Container, &self.gone_containers), (Kind::Network, &self.gone_networks)] {
            for name in names {
                if !self.prune {
                    difference.left.push((kind, (*name).to_owned()));
                    continue;
                }
                let names = vec![(*name).to_owned()];
                let step = match kind {
                    Kind::Network => (Phase::RemoveNetwork, OneChange::RemoveNetworks(names)),
                    Kind::Container | Kind::Publish => (Phase::RemoveContainer, OneChange::RemoveContainers(names)),
                };
                difference.changes.push(Change::new(Action::Remove, kind, name, String::new(), vec![step]));
            }
        }
    }
}

/// The ports of a container that stay: those of one that is made anew go with it, and have to come again; and where one has
/// left its networks they may lead nowhere, which is refused as it would be at first.
fn again(container: &str, ports: &[Ports<'_>]) -> Vec<(Phase, OneChange)> {
    let own = ports.iter().filter(|ports| ports.container == container);
    let same = own.flat_map(|ports| merged(ports.compared.same.iter().cloned()));
    same.map(|port| publishing(container, port)).collect()
}

/// The ports themselves.
fn publishes(difference: &mut Difference, ports: &[Ports<'_>]) {
    for Ports { container, compared, .. } in ports {
        for port in merged(compared.new.iter().cloned()) {
            let name = format!("{container} {}", port.map);
            let detail = if port.allow.is_empty() { String::new() } else { format!("allow {}", clients(&port.allow)) };
            let steps = vec![publishing(container, port)];
            difference.changes.push(Change::new(Action::Create, Kind::Publish, &name, detail, steps));
        }
        for alike in compared.other_clients.chunk_by(|(_, a), (_, b)| a == b) {
            let now = alike.first().map(|(_, now)| clients(now)).unwrap_or_default();
            for port in merged(alike.iter().map(|(port, _)| port.clone())) {
                let name = format!("{container} {}", port.map);
                let detail = format!("allow {now} -> {}", clients(&port.allow));
                let steps = vec![publishing(container, port)];
                difference.changes.push(Change::new(Action::Change, Kind::Publish, &name, detail, steps));
            }
        }
    }
    for Ports { container, closed, kept, .. } in ports {
        for Port { map, .. } in merged(closed.iter().cloned()) {
            let name = format!("{container} {map}");
            let (container, what) = ((*container).to_owned(), Unpublish::Ports(vec![map]));
            let step = OneChange::Unpublish(UnpublishRequest { container, what });
            let steps = vec![(Phase::Unpublish, step)];
            difference.changes.push(Change::new(Action::Remove, Kind::Publish, &name, String::new(), steps));
        }
        let left = merged(kept.iter().cloned()).into_iter();
        difference.left.extend(left.map(|port| (Kind::Publish, format!("{container} {}", port.map))));
    }
}

fn publishing(container: &str, Port { map, allow }: Port) -> (Phase, OneChange) {
    let phase = if map.host_port.is_some() { Phase::Publish } else { Phase::PublishPicked };
    (phase, OneChange::Publish(PublishRequest { container: container.to_owned(), ports: vec![map], allow }))
}

fn is_chosen(attach: &Attach) -> bool {
    attach.ip.is_some() || attach.ip6.is_some() || attach.mac.is_some()
}

fn anew(differs: &[String]) -> String {
    format!("{} (made anew)", differs.join(", "))
}

fn clients(allow: &BTreeSet<Prefix>) -> String {
    if allow.is_empty() {
        return "all".to_owned();
    }
    allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
