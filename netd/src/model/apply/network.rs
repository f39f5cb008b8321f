//! When does a network come and go?

use super::{Effect, check_name, identifier, take_number};
use crate::model::command::{Context, NetworkSpec};
use crate::model::family::Family;
use crate::model::filter::Filter;
use crate::model::options::NetworkOptions;
use crate::model::refusal::{Kind, Refusal};
use crate::model::state::{Driver, MTU_MIN_V6, Network, State};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The network of containers that name none.
pub(super) const BRIDGE: &str = "bridge";
/// The networks that are always there.
const BUILTINS: [(&str, Driver); 3] = [(BRIDGE, Driver::Bridge), ("host", Driver::Host), ("none", Driver::None)];

/// Bytes: the least that IPv4 allows (RFC 791 section 3.2), and the most that veth does.
const MTUS: RangeInclusive<u32> = 68..=65_535;

impl State {
    pub(super) fn install_builtins(&mut self, context: &Context) -> Result<Effect, Refusal> {
        let mut effect = Effect::Unchanged;
        for (index, (name, driver)) in (0..).zip(BUILTINS) {
            if self.networks.contains_key(name) {
                continue;
            }
            let subnets = match driver {
                Driver::Bridge => vec![self.automatic_subnet(Family::V4, context)?],
                Driver::Macvlan | Driver::Ipvlan | Driver::Host | Driver::None => Vec::new(),
            };
            let network = Network {
                number: take_number(&mut self.next_network, Kind::Network)?,
                name: name.to_owned(),
                id: identifier(context, index),
                driver,
                parent: None,
                subnets,
                internal: false,
                icc: true,
                masquerade: true,
                mtu: None,
                labels: BTreeMap::new(),
                options: BTreeMap::new(),
                created: context.now,
            };
            self.networks.insert(name.to_owned(), network.into());
            effect = Effect::Changed;
        }
        Ok(effect)
    }

    pub(super) fn create_network(&mut self, spec: &NetworkSpec, context: &Context) -> Result<Effect, Refusal> {
        check_name(Kind::Network, &spec.name)?;
        if self.networks.contains_key(&spec.name) || is_builtin(&spec.name) {
            return Err(Refusal::NameTaken { kind: Kind::Network, name: spec.name.clone() });
        }
        if let Some(mtu) = spec.mtu.filter(|mtu| !MTUS.contains(mtu)) {
            return Err(bad(spec, format!("MTU {mtu} is not from {} to {}", MTUS.start(), MTUS.end())));
        }
        check_options(spec)?;
        let parent = self.parent_of(spec, context)?;
        let subnets = self.subnets_of(spec, parent.as_ref(), context)?;
        if let Some(mtu) = spec.mtu.filter(|mtu| *mtu < MTU_MIN_V6 && subnets.iter().any(|s| s.subnet.is_ipv6())) {
            return Err(bad(spec, format!("MTU {mtu} is too little for IPv6, which needs {MTU_MIN_V6}")));
        }
        let network = Network {
            subnets,
            number: take_number(&mut self.next_network, Kind::Network)?,
            name: spec.name.clone(),
            id: identifier(context, 0),
            driver: spec.driver,
            parent,
            internal: spec.internal,
            icc: !spec.no_icc,
            masquerade: !spec.no_masquerade,
            mtu: spec.mtu,
            labels: spec.labels.clone(),
            options: spec.options.clone(),
            created: context.now,
        };
        self.networks.insert(spec.name.clone(), network.into());
        Ok(Effect::Changed)
    }

    pub(super) fn remove_networks(&mut self, names: &[String]) -> Result<Effect, Refusal> {
        for name in names {
            let network = self.network(name)?;
            if is_builtin(name) {
                return Err(Refusal::BuiltinNetwork { network: name.clone() });
            }
            let on_it = |container: &&std::sync::Arc<crate::model::state::Container>| {
                container.endpoints.iter().any(|endpoint| endpoint.network == network.name)
            };
            let by: Vec<String> = self.containers.values().filter(on_it).map(|c| c.name.clone()).collect();
            if !by.is_empty() {
                return Err(Refusal::NetworkInUse { network: name.clone(), by });
            }
        }
        let before = self.networks.len();
        self.networks.retain(|name, _| !names.contains(name));
        Ok(if self.networks.len() == before { Effect::Unchanged } else { Effect::Changed })
    }

    pub(super) fn prune_networks(&mut self, filters: &[Filter], context: &Context) -> Effect {
        let used: BTreeSet<&String> = self
            .containers
            .values()
            .flat_map(|container| &container.endpoints)
            .map(|endpoint| &endpoint.network)
            .collect();
        let goes = |network: &Network| {
            !is_builtin(&network.name)
                && !used.contains(&network.name)
                && filters.iter().all(|filter| filter.holds(&network.labels, network.created, context.now))
        };
        let before = self.networks.len();
        self.networks.retain(|_, network| !goes(network));
        if self.networks.len() == before { Effect::Unchanged } else { Effect::Changed }
    }
}

/// The options are kept as they were given; what reads them later finds no fault in them.
fn check_options(spec: &NetworkSpec) -> Result<(), Refusal> {
    let options = NetworkOptions::parse(&spec.options).map_err(|error| bad(spec, error.to_string()))?;
    let stands_against = [(spec.internal, "internal"), (spec.no_masquerade, "not masqueraded")];
    match stands_against.into_iter().find(|(is_set, _)| *is_set && !options.snat_pool.is_empty()) {
        Some((_, what)) => {
            Err(bad(spec, format!("snat-pool has no use: the network is {what}; leave one of them out")))
        }
        None => Ok(()),
    }
}

fn is_builtin(name: &str) -> bool {
    BUILTINS.iter().any(|(builtin, _)| *builtin == name)
}

pub(super) fn bad(spec: &NetworkSpec, what: String) -> Refusal {
    Refusal::BadNetwork { network: spec.name.clone(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::command::{Command, ContainerSpec};
    use crate::model::testing::{container, context, network, state};

    #[test]
    fn networks_that_nobody_is_on_are_pruned_and_built_in_ones_never() {
        let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let used = ContainerSpec { networks: vec!["used".into()], ..container("user") };
        let mut state = state();
        for command in [
            Command::RemoveContainers(vec!["web".to_owned(), "client".to_owned()]),
            Command::CreateNetwork(NetworkSpec { labels: label("tier", "front"), ..network("front") }),
            Command::CreateNetwork(NetworkSpec { labels: label("tier", "back"), ..network("back") }),
            Command::CreateNetwork(network("used")),
            Command::CreateContainer(used),
        ] {
            state.apply(&command, &context()).unwrap();
        }
        let left = |filters: &[&str]| {
            let filters = filters.iter().map(|text| text.parse().unwrap()).collect();
            let mut state = state.clone();
            state.apply(&Command::PruneNetworks(filters), &context()).unwrap();
            state.networks.into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(&[]), "bridge host none used");
        assert_eq!(left(&["label=tier=front"]), "back bridge host none used");
        assert_eq!(left(&["label=tier", "label!=tier=front"]), "bridge front host none used");
        assert_eq!(left(&["until=1h"]), "back bridge front host none used");
    }
}
