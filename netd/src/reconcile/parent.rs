//! Which networks have a parent that this node does not have?

use super::status::Object;
use crate::model::node::NodeFacts;
use crate::model::parent::Parent;
use crate::model::state::State;
use std::collections::BTreeMap;

/// Networks whose parent is not there, and the containers on them, with the reason. Their links come with the parent.
#[must_use]
pub fn absent(state: &State, facts: &NodeFacts) -> BTreeMap<Object, String> {
    let mut absent = BTreeMap::new();
    let mut reasons = BTreeMap::new();
    for network in state.networks.values() {
        let Some(parent) = network.parent.as_ref().filter(|parent| parent.on(facts).is_none()) else { continue };
        let reason = reason(parent);
        absent.insert(Object::Network(network.name.clone()), reason.clone());
        reasons.insert(&network.name, reason);
    }
    if reasons.is_empty() {
        return absent;
    }
    for container in state.containers.values() {
        let reason = container.endpoints.iter().find_map(|endpoint| {
            let reason = reasons.get(&endpoint.network)?;
            Some(format!("{} is not in it: on network {}, {reason}", endpoint.interface, endpoint.network))
        });
        absent.extend(reason.map(|reason| (Object::Container(container.name.clone()), reason)));
    }
    absent
}

fn reason(parent: &Parent) -> String {
    let Parent { interface, vlan, .. } = parent;
    let of = vlan.as_ref().map(|vlan| format!(", nor is {}, which netd would make it of", vlan.of)).unwrap_or_default();
    format!("the parent {interface} is not there{of}; bring it back, or remove the network")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attach::Attach;
    use crate::model::command::{Command, ContainerSpec};
    use crate::model::state::Driver;
    use crate::model::testing::{container, context, facts, on_parent, state};

    #[test]
    fn who_lacks_its_parent_is_told_until_it_is_there() {
        let mut state = state();
        let lan = on_parent("lan", Driver::Macvlan, "lan0.20", "10.9.0.0/24", &[]);
        let on_lan = ContainerSpec { networks: vec![Attach::to("lan")], ..container("db") };
        for command in [Command::CreateNetwork(lan), Command::CreateContainer(on_lan)] {
            state.apply(&command, &context()).unwrap();
        }
        let mut facts = facts();
        assert_eq!(absent(&state, &facts), BTreeMap::new());
        let lan0 = facts.interfaces.remove("lan0").unwrap();
        let reason = "the parent lan0.20 is not there, nor is lan0, which netd would make it of; bring it back, or remove \
                      the network";
        let expected = [
            (Object::Network("lan".to_owned()), reason.to_owned()),
            (Object::Container("db".to_owned()), format!("eth0 is not in it: on network lan, {reason}")),
        ];
        assert_eq!(absent(&state, &facts), expected.into());
        facts.interfaces.insert("lan0.20".to_owned(), lan0);
        assert_eq!(absent(&state, &facts), BTreeMap::new(), "somebody else made it");
    }
}
