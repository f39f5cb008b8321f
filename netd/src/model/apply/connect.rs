//! When does a container that is there join or leave a network?

use super::Effect;
use crate::model::attach::Attach;
use crate::model::refusal::Refusal;
use crate::model::state::{Container, Driver, Endpoint, Mode, NETWORKS_MAX, State};
use std::sync::Arc;

impl State {
    pub(super) fn connect(&mut self, name: &str, attach: &Attach) -> Result<Effect, Refusal> {
        let container = self.container(name)?;
        has_networks(container)?;
        self.joinable(&attach.network)?;
        let (container, network) = (container.name.clone(), attach.network.clone());
        let endpoints = self.endpoints_of(name);
        if endpoints.iter().any(|endpoint| endpoint.network == network) {
            return Err(Refusal::AlreadyConnected { container, network });
        }
        if endpoints.len() >= NETWORKS_MAX {
            return Err(Refusal::TooManyNetworks { container });
        }
        let interface = free_interface(endpoints);
        let endpoint = self.plug_in(attach, interface)?;
        if let Some(container) = self.containers.get_mut(name).map(Arc::make_mut) {
            container.mode = Mode::Bridge;
            container.endpoints.push(endpoint);
        }
        Ok(Effect::Changed)
    }

    /// Its published ports stay. While it is on no network that leads outside they lead nowhere, and the status says so.
    pub(super) fn disconnect(&mut self, name: &str, network: &str) -> Result<Effect, Refusal> {
        let container = self.container(name)?;
        has_networks(container)?;
        // What leaves "none" has no network either, and may join others.
        if self.network(network)?.driver == Driver::None && container.mode == Mode::None {
            return Ok(self.leave(name, network));
        }
        self.joinable(network)?;
        if !container.endpoints.iter().any(|endpoint| endpoint.network == network) {
            return Err(Refusal::NotConnected {
                container: container.name.clone(),
                network: network.to_owned(),
                has: container.endpoints.iter().map(|endpoint| endpoint.network.clone()).collect(),
            });
        }
        Ok(self.leave(name, network))
    }

    fn leave(&mut self, name: &str, network: &str) -> Effect {
        if let Some(container) = self.containers.get_mut(name).map(Arc::make_mut) {
            container.mode = Mode::Bridge;
            container.endpoints.retain(|endpoint| endpoint.network != network);
        }
        Effect::Changed
    }

    /// Refuses what is a mode and no network.
    fn joinable(&self, network: &str) -> Result<(), Refusal> {
        match self.network(network)?.driver {
            Driver::Bridge | Driver::Macvlan | Driver::Ipvlan => Ok(()),
            Driver::Host | Driver::None => Err(Refusal::NotJoinable { network: network.to_owned() }),
        }
    }

    fn endpoints_of(&self, name: &str) -> &[Endpoint] {
        self.containers.get(name).map_or(&[], |container| &container.endpoints)
    }
}

/// Refuses a container without a namespace of its own.
fn has_networks(container: &Container) -> Result<(), Refusal> {
    let name = || container.name.clone();
    match (container.mode, &container.shares) {
        (Mode::Host, _) => Err(Refusal::OnHostNetwork { container: name() }),
        (Mode::Container, Some(shared)) => {
            Err(Refusal::SharesNetworks { container: name(), other: shared.name.clone() })
        }
        (Mode::Bridge | Mode::None | Mode::Container, _) => Ok(()),
    }
}

/// The lowest `ethN` that none of these is.
pub(super) fn free_interface(endpoints: &[Endpoint]) -> String {
    let is_free = |name: &String| !endpoints.iter().any(|endpoint| endpoint.interface == *name);
    (0..=endpoints.len()).map(|number| format!("eth{number}")).find(is_free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::command::{Command, ContainerSpec, NetworkSpec};
    use crate::model::family::Family;
    use crate::model::testing::{container, context, network, publish, state};
    use std::net::IpAddr;

    fn join(container: &str, network: &str) -> Command {
        join_as(container, Attach::to(network))
    }

    fn join_as(container: &str, attach: Attach) -> Command {
        Command::Connect { container: container.to_owned(), attach }
    }

    fn leave(container: &str, network: &str) -> Command {
        Command::Disconnect { container: container.to_owned(), network: network.to_owned() }
    }

    fn on(name: &str, networks: &[&str]) -> Command {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Command::CreateContainer(ContainerSpec { networks, ..container(name) })
    }

    fn after(mut state: State, commands: &[Command]) -> State {
        for command in commands {
            state.apply(command, &context()).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        }
        state
    }

    /// With the networks `a`, `b` and the internal `inner`.
    fn networks() -> State {
        let inner = NetworkSpec { internal: true, ..network("inner") };
        after(state(), &[network("a"), network("b"), inner].map(Command::CreateNetwork))
    }

    fn refused(state: &State, command: &Command) -> (&'static str, String) {
        let refusal = state.clone().apply(command, &context()).expect_err("should be refused");
        (refusal.code(), refusal.to_string())
    }

    fn endpoints(state: &State, container: &str) -> Vec<String> {
        let of = |e: &Endpoint| format!("{} {} {} {}", e.interface, e.network, e.host_interface, e.ipv4.unwrap());
        state.containers[container].endpoints.iter().map(of).collect()
    }

    fn way_out(state: &State, container: &str) -> Option<String> {
        state.way_out(&state.containers[container], Family::V4).map(|(endpoint, _)| endpoint.network.clone())
    }

    #[test]
    fn interfaces_take_the_lowest_free_number_and_freed_addresses_rest() {
        let state = after(networks(), &[join("web", "a"), join("web", "b")]);
        let [bridge, a, b] = ["eth0 bridge nd1 10.208.0.2/24", "eth1 a nd3 10.208.1.2/24", "eth2 b nd4 10.208.2.2/24"];
        assert_eq!(endpoints(&state, "web"), [bridge, a, b]);
        let state = after(state, &[leave("web", "a"), join("web", "inner"), join("web", "a")]);
        let again = ["eth1 inner nd5 10.208.3.2/24", "eth3 a nd6 10.208.1.3/24"];
        assert_eq!(endpoints(&state, "web"), [bridge, b, again[0], again[1]]);
    }

    #[test]
    fn what_was_chosen_is_had() {
        let attach = Attach {
            ip: Some("10.208.1.77".parse().unwrap()),
            mac: Some("02:00:00:00:00:77".parse().unwrap()),
            aliases: vec!["www".to_owned()],
            ..Attach::to("a")
        };
        let state = after(networks(), &[join_as("web", attach)]);
        let endpoint = &state.containers["web"].endpoints[1];
        assert_eq!(endpoint.address(Family::V4), Some("10.208.1.77".parse().unwrap()));
        assert_eq!((endpoint.mac.to_string().as_str(), endpoint.aliases[0].as_str()), ("02:00:00:00:00:77", "www"));
        let spec = ContainerSpec {
            networks: vec!["bridge".into(), "name=a,ip=10.208.1.9,alias=inside".parse().unwrap()],
            ip: Some("10.208.0.9".parse().unwrap()),
            aliases: vec!["db".to_owned()],
            ..container("both")
        };
        let state = after(state, &[Command::CreateContainer(spec)]);
        let told: Vec<_> = state.containers["both"]
            .endpoints
            .iter()
            .map(|e| (e.ipv4.unwrap().to_string(), e.aliases.join(",")))
            .collect();
        assert_eq!(told, [("10.208.0.9/24".into(), "db".into()), ("10.208.1.9/24".into(), "db,inside".to_owned())]);
    }

    #[test]
    fn the_highest_priority_leads_out_and_of_equals_the_first() {
        let prior = |network: &str, gw_priority| Attach { gw_priority, ..Attach::to(network) };
        let state = after(networks(), &[join("web", "a")]);
        assert_eq!(way_out(&state, "web").as_deref(), Some("bridge"));
        let state = after(state, &[join_as("web", prior("b", 5))]);
        assert_eq!(way_out(&state, "web").as_deref(), Some("b"));
        let state = after(state, &[join_as("web", prior("inner", 9))]);
        assert_eq!(way_out(&state, "web").as_deref(), Some("b"), "an internal network leads nowhere");
        let state = after(state, &[publish("web", &["8080:80"]), leave("web", "b"), leave("web", "bridge")]);
        assert_eq!(way_out(&state, "web").as_deref(), Some("a"));
        let state = after(state, &[join_as("web", prior("b", -1))]);
        assert_eq!(way_out(&state, "web").as_deref(), Some("a"));
        // A published port leads where its answers leave.
        let leads = state.containers["web"].answerer(&state, Family::V4).unwrap().1;
        assert_eq!(leads, "10.208.1.2".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn the_last_network_may_be_left_and_ports_stay() {
        let state = after(networks(), &[publish("web", &["8080:80"]), leave("web", "bridge")]);
        assert_eq!((state.containers["web"].mode, state.containers["web"].endpoints.len()), (Mode::Bridge, 0));
        assert_eq!(state.publishes.len(), 1);
        let why = "container \"web\" has no address to publish to: it is on no network";
        assert_eq!(refused(&state, &publish("web", &["81:81"])), ("no_address", why.to_owned()));
        let state = after(state, &[join("web", "a")]);
        assert_eq!(endpoints(&state, "web"), ["eth0 a nd3 10.208.1.2/24"]);
        let state = after(state, &[on("alone", &["none"]), join("alone", "a"), leave("alone", "a")]);
        assert_eq!(state.containers["alone"].mode, Mode::Bridge);
        let state = after(state, &[on("lone", &["none"]), leave("lone", "none"), join("lone", "b")]);
        assert_eq!(endpoints(&state, "lone"), ["eth0 b nd5 10.208.2.2/24"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_exact_words() {
        let state = after(
            networks(),
            &[
                on("hosted", &["host"]),
                on("sharer", &["container:web"]),
                Command::CreateNetwork(NetworkSpec {
                    subnets: vec!["10.9.0.0/30".parse().unwrap()],
                    ..network("tiny")
                }),
                join("client", "tiny"),
            ],
        );
        let at = |ip: &str| join_as("web", Attach { ip: Some(ip.parse().unwrap()), ..Attach::to("a") });
        for (command, code, text) in [
            (join("wbe", "a"), "unknown_container", "no container named \"wbe\"; did you mean \"web\"?"),
            (join("web", "brigde"), "unknown_network", "no network named \"brigde\"; did you mean \"bridge\"?"),
            (
                join("web", "bridge"),
                "already_connected",
                "container \"web\" is on network \"bridge\" already; disconnect it first to join it otherwise",
            ),
            (leave("web", "a"), "not_connected", "container \"web\" is not on network \"a\"; it is on \"bridge\""),
            (
                join("hosted", "a"),
                "on_host_network",
                "container \"hosted\" is on the host's own network, and joins and leaves no other; make it again with --network",
            ),
            (
                leave("hosted", "host"),
                "on_host_network",
                "container \"hosted\" is on the host's own network, and joins and leaves no other; make it again with --network",
            ),
            (
                join("sharer", "a"),
                "shares_networks",
                "container \"sharer\" has no network of its own, it shares the namespace of \"web\"; connect or disconnect that one",
            ),
            (
                leave("sharer", "bridge"),
                "shares_networks",
                "container \"sharer\" has no network of its own, it shares the namespace of \"web\"; connect or disconnect that one",
            ),
            (
                join("web", "host"),
                "not_joinable",
                "\"host\" is no network to join or leave; it is for a container that is made with --network host",
            ),
            (
                leave("web", "none"),
                "not_joinable",
                "\"none\" is no network to join or leave; it is for a container that is made with --network none",
            ),
            (
                at("10.208.0.9"),
                "address_outside",
                "address 10.208.0.9 is outside the subnet 10.208.1.0/24 of network \"a\"; choose one inside",
            ),
            (at("fd00::9"), "other_family", "fd00::9 is an IPv6 address; give it with --ip6"),
            (
                join("web", "tiny"),
                "addresses_used_up",
                "network \"tiny\" has no free address left in 10.9.0.0/30; remove containers or make a larger network",
            ),
            (
                Command::RemoveNetworks(vec!["tiny".to_owned()]),
                "network_in_use",
                "network \"tiny\" is in use by \"client\"; disconnect or remove that first",
            ),
        ] {
            assert_eq!(refused(&state, &command), (code, text.to_owned()), "{command:?}");
        }
    }

    #[test]
    fn a_container_is_on_so_many_networks_at_most() {
        let mut state = after(state(), &[leave("web", "bridge")]);
        for number in 0..=NETWORKS_MAX {
            let name = format!("n{number}");
            let spec =
                NetworkSpec { subnets: vec![format!("fd00:{number:x}::/64").parse().unwrap()], ..network(&name) };
            state = after(state, &[Command::CreateNetwork(spec)]);
            if number < NETWORKS_MAX {
                state = after(state, &[join("web", &name)]);
            }
        }
        let text = "a container is on 256 networks at most, and \"web\" would be on more; disconnect it from one";
        assert_eq!(refused(&state, &join("web", "n256")), ("too_many_networks", text.to_owned()));
    }
}
