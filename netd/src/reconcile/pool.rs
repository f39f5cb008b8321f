//! Which addresses may the flows of a network take, and which of those that were asked for does this node not have?

use super::status::Object;
use crate::model::node::NodeFacts;
use crate::model::options::NetworkOptions;
use crate::model::state::{Network, State};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Missing addresses that a message names at most; the rest is counted.
const LISTED_MAX: usize = 8;

/// A network's SNAT pool on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Addresses that an uplink has, in the order given.
    pub ipv4: Vec<IpAddr>,
    pub ipv6: Vec<IpAddr>,
    /// Addresses that none has: flows that took one would get no answer.
    pub missing: Vec<IpAddr>,
}

impl Pool {
    #[must_use]
    pub fn of(options: &NetworkOptions, facts: &NodeFacts) -> Self {
        let mut pool = Self::default();
        if options.snat_pool.is_empty() {
            return pool;
        }
        let own: BTreeSet<IpAddr> =
            facts.uplinks.values().flat_map(|uplink| uplink.addresses.iter().copied()).collect();
        for address in &options.snat_pool {
            match address {
                address if !own.contains(address) => pool.missing.push(*address),
                IpAddr::V4(_) => pool.ipv4.push(*address),
                IpAddr::V6(_) => pool.ipv6.push(*address),
            }
        }
        pool
    }
}

/// The options of a network. They were read when it was made: what a later version does not understand any more says
/// nothing.
#[must_use]
pub fn options_of(network: &Network) -> NetworkOptions {
    NetworkOptions::parse(&network.options).unwrap_or_default()
}

/// The networks that do not get all they asked for, and why.
#[must_use]
pub fn unmet(state: &State, facts: &NodeFacts) -> BTreeMap<Object, String> {
    let asking = state.networks.values().filter(|network| !network.options.is_empty());
    let pooled = asking.map(|network| (network, Pool::of(&options_of(network), facts)));
    let lacking = pooled.filter(|(_, pool)| !pool.missing.is_empty());
    lacking.map(|(network, pool)| (Object::Network(network.name.clone()), reason(&pool))).collect()
}

fn reason(pool: &Pool) -> String {
    let mut named: Vec<String> = pool.missing.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if let Some(more) = pool.missing.len().checked_sub(LISTED_MAX).filter(|&more| more > 0) {
        named.push(format!("{more} more"));
    }
    format!(
        "no uplink has {} of snat-pool; add the address to an uplink, or make the network without it; until then its \
         flows take what is there",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::command::{Command, NetworkSpec};
    use crate::model::testing::{context, facts, network, state};

    fn with_pool(pool: &str) -> State {
        let mut state = state();
        let options = [("snat-pool".to_owned(), pool.to_owned())].into();
        let command = Command::CreateNetwork(NetworkSpec { options, ..network("lab") });
        state.apply(&command, &context()).unwrap();
        state
    }

    #[test]
    fn an_address_that_no_uplink_has_is_named_until_it_is_there() {
        let lab = Object::Network("lab".to_owned());
        let state = with_pool("198.18.0.1,198.18.0.7-198.18.0.16");
        let mut facts = facts();
        let reason = unmet(&state, &facts).remove(&lab).expect("the network does not get all");
        assert!(
            reason.starts_with(
                "no uplink has 198.18.0.7, 198.18.0.8, 198.18.0.9, 198.18.0.10, 198.18.0.11, 198.18.0.12, \
                 198.18.0.13, 198.18.0.14, 2 more of snat-pool; add the address to an uplink"
            ),
            "{reason}"
        );
        // An address of the host that is not on an uplink would do no better.
        facts.addresses.extend((7..=16).map(|last| IpAddr::from([198, 18, 0, last])));
        assert!(unmet(&state, &facts).contains_key(&lab));
        let uplink = facts.uplinks.get_mut("eth0").expect("the uplink");
        uplink.addresses.extend((7..=16).map(|last| IpAddr::from([198, 18, 0, last])));
        assert!(unmet(&state, &facts).is_empty());
    }
}
