//! What of the file is there already, what must be made anew, and may it be?

use super::change::Kind;
use super::differs::{self, Place};
use super::file::{File, LABEL, WantedContainer};
use netd::api::records::{ContainerRecord, NetworkRecord};
use std::collections::{BTreeMap, BTreeSet};

/// What netd lists.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub networks: Vec<NetworkRecord>,
    pub containers: Vec<ContainerRecord>,
}

/// What a decision is made by.
pub struct Around<'a> {
    pub file: &'a File,
    pub prune: bool,
    pub networks: BTreeMap<&'a str, &'a NetworkRecord>,
    pub containers: BTreeMap<&'a str, &'a ContainerRecord>,
    /// What must be made anew, and why.
    pub new_networks: BTreeMap<&'a str, Vec<String>>,
    pub new_containers: BTreeMap<&'a str, Vec<String>>,
    /// What apply made of this file, and is not in it.
    pub gone_networks: Vec<&'a str>,
    pub gone_containers: Vec<&'a str>,
}

impl<'a> Around<'a> {
    pub fn look(file: &'a File, live: &'a Live, prune: bool) -> Result<Self, String> {
        let is_ours = |labels: &BTreeMap<String, String>| labels.get(LABEL) == Some(&file.id);
        let networks: BTreeMap<_, _> = live.networks.iter().map(|network| (network.name.as_str(), network)).collect();
        let containers: BTreeMap<_, _> = live.containers.iter().map(|one| (one.name.as_str(), one)).collect();
        let wanted_networks: BTreeSet<&str> = file.networks.iter().map(|wanted| wanted.spec.name.as_str()).collect();
        let wanted: BTreeSet<&str> = file.containers.iter().map(|wanted| wanted.spec.name.as_str()).collect();
        let gone_networks = live.networks.iter().filter(|network| is_ours(&network.labels));
        let gone_containers = live.containers.iter().filter(|container| is_ours(&container.labels));
        let mut around = Self {
            file,
            prune,
            gone_networks: gone_networks.map(|n| n.name.as_str()).filter(|n| !wanted_networks.contains(n)).collect(),
            gone_containers: gone_containers.map(|c| c.name.as_str()).filter(|c| !wanted.contains(c)).collect(),
            networks,
            containers,
            new_networks: BTreeMap::new(),
            new_containers: BTreeMap::new(),
        };
        for network in &file.networks {
            let name = network.spec.name.as_str();
            let Some(there) = around.networks.get(name) else { continue };
            let differs = differs::network(&network.spec, there);
            if !differs.is_empty() {
                let others = there.containers.iter().map(|member| member.name.as_str());
                around.may_be_made_anew(Kind::Network, name, &there.labels, &differs, others, "is on it")?;
                around.new_networks.insert(name, differs);
            }
        }
        // Who shares a namespace after those whose it is.
        let (sharers, own): (Vec<_>, Vec<_>) =
            file.containers.iter().partition(|wanted| matches!(Place::of(&wanted.spec), Place::Shared(_)));
        for wanted in own.into_iter().chain(sharers) {
            around.container(wanted)?;
        }
        around.check_pruned()?;
        Ok(around)
    }

    /// Refuses to take a namespace from under somebody who stays.
    fn check_pruned(&self) -> Result<(), String> {
        if !self.prune {
            return Ok(());
        }
        let goes = |name: &str| self.gone_containers.contains(&name) || self.new_containers.contains_key(name);
        for gone in &self.gone_containers {
            let is_on_it = |other: &str| {
                let wanted = self.file.containers.iter().find(|wanted| wanted.spec.name == other);
                wanted.is_some_and(|wanted| Place::of(&wanted.spec) == Place::Shared(gone)) || !goes(other)
            };
            let sharers = self.containers.values().filter(|other| other.shares.as_deref() == Some(gone));
            if let Some(other) = sharers.map(|other| other.name.as_str()).find(|other| is_on_it(other)) {
                return Err(format!(
                    "container \"{gone}\" is not in the file and would be removed, and container \"{other}\" lives in its \
                     namespace; remove that first, or keep \"{gone}\" in the file"
                ));
            }
        }
        Ok(())
    }

    fn container(&mut self, wanted: &'a WantedContainer) -> Result<(), String> {
        let name = wanted.spec.name.as_str();
        let Some(there) = self.containers.get(name) else { return Ok(()) };
        let mut differs = differs::container(&wanted.spec, there);
        if let Place::Shared(other) = Place::of(&wanted.spec)
            && differs.is_empty()
            && self.new_containers.contains_key(other)
        {
            differs.push(format!("the namespace of {other}"));
        }
        if !differs.is_empty() {
            let sharers = self.containers.values().filter(|other| other.shares.as_deref() == Some(name));
            let sharers = sharers.map(|other| other.name.as_str());
            self.may_be_made_anew(Kind::Container, name, &there.labels, &differs, sharers, "lives in its namespace")?;
            self.new_containers.insert(name, differs);
        }
        Ok(())
    }

    /// Refuses to make anew what is somebody's own, and what somebody else needs meanwhile.
    fn may_be_made_anew<'b>(
        &self,
        kind: Kind,
        name: &str,
        labels: &BTreeMap<String, String>,
        differs: &[String],
        others: impl Iterator<Item = &'b str>,
        need: &str,
    ) -> Result<(), String> {
        let differs = differs.join(", ");
        if !labels.contains_key(LABEL) {
            return Err(format!(
                "{kind} \"{name}\" is not as the file says ({differs}), and was not made by apply, which leaves it alone; \
                 remove it with \"netctl {kind} rm {name}\", and apply makes it"
            ));
        }
        let is_handled = |other: &str| {
            let is_pruned = self.prune && self.gone_containers.contains(&other);
            is_pruned || self.file.containers.iter().any(|wanted| wanted.spec.name == other)
        };
        for other in others {
            if !is_handled(other) {
                return Err(format!(
                    "{kind} \"{name}\" has to be made anew ({differs}), and container \"{other}\", which is not in the file, \
                     {need}; remove that first"
                ));
            }
        }
        Ok(())
    }
}
