//! What was asked for and is not there to be had, although no step fails?
//!
//! Ports whose container is on no network that leads outside, containers whose namespace was another's that is gone,
//! addresses that no uplink has (`pool`), and interfaces that are not there (`parent`).

use super::status::Object;
use super::{parent, pool};
use crate::model::family::Family;
use crate::model::node::NodeFacts;
use crate::model::state::{Container, Publish, PublishKey, State};
use std::collections::BTreeMap;

/// The objects that do not get all they asked for, and why.
#[must_use]
pub fn unmet(state: &State, facts: &NodeFacts) -> BTreeMap<Object, String> {
    let mut unmet = lacking(state, facts);
    unmet.extend(
        state.containers.values().filter_map(|container| Some((name_of(container), orphaned(state, container)?))),
    );
    unmet.extend(state.publishes.iter().filter_map(|(key, publish)| {
        let container = state.containers.get(&publish.container)?;
        Some((Object::Publish(*key), stranded(state, key, publish, container)?))
    }));
    unmet
}

/// Those that wait for something on the host.
#[must_use]
pub fn lacking(state: &State, facts: &NodeFacts) -> BTreeMap<Object, String> {
    let mut lacking = pool::unmet(state, facts);
    lacking.extend(parent::absent(state, facts));
    lacking
}

fn name_of(container: &Container) -> Object {
    Object::Container(container.name.clone())
}

/// Whether the container lived in the namespace of one that is gone.
#[must_use]
pub fn is_orphaned(state: &State, container: &Container) -> bool {
    container.shares.as_ref().is_some_and(|shared| state.shared(shared).is_none())
}

fn orphaned(state: &State, container: &Container) -> Option<String> {
    let shared = container.shares.as_ref().filter(|_| is_orphaned(state, container))?;
    Some(format!("container \"{}\", whose namespace it shares, is gone; remove it and create it again", shared.name))
}

/// Why a published port leads nowhere.
fn stranded(state: &State, key: &PublishKey, publish: &Publish, container: &Container) -> Option<String> {
    // At every address one family suffices, and whoever can answer at all can answer IPv6.
    let family = if publish.ipv6 { Family::V6 } else { Family::of(key.host_ip) };
    container.answerer(state, family).err()?;
    let name = &container.name;
    Some(format!(
        "container \"{name}\" is on no network by which the port could lead to it; connect it to one that leads outside \
         (netctl network connect NET {name}), or unpublish the port"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attach::Attach;
    use crate::model::command::{Command, ContainerSpec};
    use crate::model::testing::{container, context, facts, network, publish, state};

    fn after(commands: &[Command]) -> State {
        let mut state = state();
        for command in commands {
            state.apply(command, &context()).unwrap();
        }
        state
    }

    fn told(state: &State) -> Vec<String> {
        unmet(state, &facts()).iter().map(|(object, reason)| format!("{object:?}: {reason}")).collect()
    }

    #[test]
    fn a_port_leads_nowhere_until_its_container_is_on_a_network_again() {
        let leave = Command::Disconnect { container: "web".to_owned(), network: "bridge".to_owned() };
        let mut state = after(&[publish("web", &["8080:80"]), leave]);
        let [told] = told(&state).try_into().expect("one object");
        assert!(
            told.ends_with(
                ": container \"web\" is on no network by which the port could lead to it; connect it to one that leads \
                 outside (netctl network connect NET web), or unpublish the port"
            ),
            "{told}"
        );
        let join = Command::Connect { container: "web".to_owned(), attach: Attach::to("bridge") };
        state.apply(&join, &context()).unwrap();
        assert_eq!(unmet(&state, &facts()), BTreeMap::new());
    }

    #[test]
    fn a_port_at_every_address_leads_somewhere_when_one_family_does() {
        let mut six = network("six");
        six.subnets = vec!["fd20::/64".parse().unwrap()];
        let web = ContainerSpec { networks: vec!["six".into()], ..container("web6") };
        let state = after(&[Command::CreateNetwork(six), Command::CreateContainer(web), publish("web6", &["8080:80"])]);
        assert_eq!(told(&state), [""; 0]);
    }

    #[test]
    fn who_shares_a_namespace_is_bound_to_that_container_and_no_other_of_its_name() {
        let sharer = ContainerSpec { networks: vec!["container:web".into()], ..container("sharer") };
        let gone = Command::RemoveContainers(vec!["web".to_owned()]);
        let mut state = after(&[Command::CreateContainer(sharer), gone]);
        let expected = "Container(\"sharer\"): container \"web\", whose namespace it shares, is gone; remove it and create \
                        it again";
        assert_eq!(told(&state), [expected]);
        let context = crate::model::command::Context { entropy: [8; 32], ..context() };
        state.apply(&Command::CreateContainer(container("web")), &context).unwrap();
        assert_eq!(told(&state), [expected]);
    }
}
