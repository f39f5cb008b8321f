//! Which part of the state has to be compared, when the kernel holds what the last one asked for?
//!
//! What a container asks of the kernel is its own and that of its networks, so a plan from the changed objects and those
//! they stand on is the plan from all of them. With a thousand containers that is the difference between a change and a
//! thousand. Some things belong to several: a VLAN of the host is there while any network is on it, and who shares a
//! namespace lacks it when its container is gone.

use crate::joined::differing;
use crate::model::state::{Network, State, Subnet};
use std::collections::BTreeSet;

/// The parts of two states that are about what differs, such that the rest of both asks for the same; none when anything
/// may differ.
#[must_use]
pub fn parts(before: &State, after: &State) -> Option<(State, State)> {
    // The guard stands at every uplink that is no container's link.
    if before.blocked.is_empty() != after.blocked.is_empty() {
        return None;
    }
    let mut networks = BTreeSet::new();
    for (name, then, now) in differing(&before.networks, &after.networks) {
        match (then, now) {
            // Its containers would be changed with it.
            (Some(then), Some(now)) if !asks_the_same(then, now) => return None,
            (Some(_), Some(_)) => {}
            _ => drop(networks.insert(name)),
        }
    }
    let mut containers: BTreeSet<&String> =
        differing(&before.containers, &after.containers).map(|(name, _, _)| name).collect();
    for state in [before, after] {
        let sharing = sharing(state, &containers);
        containers.extend(sharing);
    }
    let mut publishes = BTreeSet::new();
    for (key, then, now) in differing(&before.publishes, &after.publishes) {
        publishes.insert(key);
        containers.extend([then, now].into_iter().flatten().map(|publish| &publish.container));
    }
    for state in [before, after] {
        let of_changed = state.publishes.iter().filter(|(_, publish)| containers.contains(&publish.container));
        publishes.extend(of_changed.map(|(key, _)| key));
        let endpoints = containers.iter().filter_map(|name| state.containers.get(*name)).flat_map(|c| &c.endpoints);
        networks.extend(endpoints.map(|endpoint| &endpoint.network));
    }
    let parents: BTreeSet<&str> =
        [before, after].into_iter().flat_map(|state| parents(state, |name| networks.contains(name))).collect();
    if !parents.is_empty() {
        for state in [before, after] {
            networks.extend(state.networks.values().filter(|network| is_on(network, &parents)).map(|n| &n.name));
        }
    }
    let part = |state: &State| State {
        networks: networks.iter().filter_map(|name| state.networks.get_key_value(*name)).map(cloned).collect(),
        containers: containers.iter().filter_map(|name| state.containers.get_key_value(*name)).map(cloned).collect(),
        publishes: publishes.iter().filter_map(|key| state.publishes.get_key_value(key)).map(cloned).collect(),
        allow_lists: state.allow_lists.clone(),
        blocked: state.blocked.clone(),
        ..State::default()
    };
    Some((part(before), part(after)))
}

/// Who shares the namespace of one of these containers, and whose namespace they share.
fn sharing<'a>(state: &'a State, containers: &BTreeSet<&String>) -> Vec<&'a String> {
    let sharers =
        state.containers.iter().filter_map(|(name, container)| Some((name, &container.shares.as_ref()?.name)));
    let meant = sharers.filter(|(name, other)| containers.contains(name) || containers.contains(other));
    meant.flat_map(|(name, other)| [name, other]).collect()
}

/// The interfaces on which these networks are.
fn parents(state: &State, is_meant: impl Fn(&String) -> bool) -> impl Iterator<Item = &str> {
    let networks = state.networks.iter().filter(move |(name, _)| is_meant(name));
    networks.filter_map(|(_, network)| Some(network.parent.as_ref()?.interface.as_str()))
}

fn is_on(network: &Network, parents: &BTreeSet<&str>) -> bool {
    network.parent.as_ref().is_some_and(|parent| parents.contains(parent.interface.as_str()))
}

fn cloned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

/// Whether two records of a network differ in nothing but the address that was handed out last.
fn asks_the_same(then: &Network, now: &Network) -> bool {
    let without_last = |network: &Network| network.subnets.iter().map(|s| Subnet { last: None, ..s.clone() }).collect();
    let bare = |network: &Network| Network { subnets: without_last(network), ..network.clone() };
    bare(then) == bare(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attach::Attach;
    use crate::model::command::{Command, ContainerSpec};
    use crate::model::state::Driver;
    use crate::model::testing::{any_command, block, container, context, facts, on_parent, publish, state};
    use crate::reconcile::lower::lower;
    use crate::reconcile::observed::Observed;
    use crate::reconcile::op::Op;
    use crate::reconcile::plan::plan;
    use proptest::prelude::*;
    use std::path::Path;

    fn steps(before: &State, after: &State) -> Vec<Op> {
        let [before, after] = [before, after].map(|state| lower(state, &facts(), Path::new("/run/netns")));
        plan(&after, &Observed(before))
    }

    fn after(state: &State, command: &Command) -> State {
        let mut state = state.clone();
        state.apply(command, &context()).unwrap();
        state
    }

    #[test]
    fn only_what_changed_and_what_it_stands_on_is_compared() {
        let before = after(&state(), &publish("client", &["8080:80"]));
        let (then, now) = parts(&before, &after(&before, &publish("web", &["81:81"]))).unwrap();
        assert_eq!((then.containers.len(), now.containers.len(), now.networks.len()), (1, 1, 1));
        assert_eq!((then.publishes.len(), now.publishes.len()), (0, 1));
        assert!(parts(&before, &after(&before, &block(&["198.18.0.7"]))).is_none(), "the guard comes");
    }

    #[test]
    fn a_vlan_stays_while_another_network_is_on_it() {
        let lan =
            |name: &str, subnet: &str| Command::CreateNetwork(on_parent(name, Driver::Macvlan, "lan0.20", subnet, &[]));
        let on_too = ContainerSpec { networks: vec![Attach::to("too")], ..container("db") };
        let before = [lan("lan", "10.9.0.0/24"), lan("too", "10.9.1.0/24"), Command::CreateContainer(on_too)]
            .iter()
            .fold(state(), |state, command| after(&state, command));
        let goal = after(&before, &Command::RemoveNetworks(vec!["lan".to_owned()]));
        let (then, now) = parts(&before, &goal).unwrap();
        assert_eq!(steps(&then, &now), []);
        assert_eq!((then.networks.len(), now.networks.len()), (2, 1));
    }

    proptest! {
        #[test]
        fn the_steps_are_those_of_the_whole_states(commands in prop::collection::vec(any_command(), 1..60)) {
            let mut before = state();
            // Several commands may come to one pass.
            for some in commands.chunks(2) {
                let mut goal = before.clone();
                for command in some {
                    let mut next = goal.clone();
                    if next.apply(command, &context()).is_ok() {
                        goal = next;
                    }
                }
                if let Some((then, now)) = parts(&before, &goal) {
                    prop_assert_eq!(steps(&then, &now), steps(&before, &goal));
                }
                before = goal;
            }
        }
    }
}
