//! When does a container come and go?

use super::connect::free_interface;
use super::network::BRIDGE;
use super::{Effect, check_name, identifier};
use crate::model::attach::Attach;
use crate::model::command::{ContainerSpec, Context, NamespaceAt};
use crate::model::naming::{EXTRA_HOSTS_MAX, RESOLVER_LINES_MAX};
use crate::model::port_map::PortMap;
use crate::model::refusal::{Kind, Refusal};
use crate::model::state::{Container, Driver, Endpoint, Mode, NETWORKS_MAX, Shared, State};
use std::collections::BTreeSet;

/// What stands before the name of a container whose namespace is to be shared.
const SHARED: &str = "container:";

impl State {
    pub(super) fn create_container(&mut self, spec: &ContainerSpec, context: &Context) -> Result<Effect, Refusal> {
        self.check_names(spec)?;
        let Place { mode, attached, shares } = self.place_of(spec)?;
        self.check_namespace(spec, mode, context)?;
        check_naming(spec, mode)?;
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(attached.len());
        for attach in &attached {
            let interface = free_interface(&endpoints);
            endpoints.push(self.plug_in(attach, interface)?);
        }
        let own_hostname = || spec.hostname.clone().unwrap_or_else(|| spec.name.clone());
        let shared = shares.as_ref().and_then(|shared| self.shared(shared));
        let container = Container {
            name: spec.name.clone(),
            id: identifier(context, 0),
            mode,
            netns: spec.netns.clone(),
            router: spec.router,
            exposed: spec.expose.iter().copied().collect(),
            hostname: shared.map_or_else(own_hostname, |shared| shared.hostname.clone()),
            dns: shared.map_or(&spec.dns, |shared| &shared.dns).clone(),
            dns_search: shared.map_or(&spec.dns_search, |shared| &shared.dns_search).clone(),
            dns_options: shared.map_or(&spec.dns_options, |shared| &shared.dns_options).clone(),
            extra_hosts: shared.map_or(&spec.extra_hosts, |shared| &shared.extra_hosts).clone(),
            labels: spec.labels.clone(),
            created: context.now,
            shares,
            endpoints,
        };
        let exposed = container.exposed.iter().filter(|_| spec.publish_all).map(|exposed| exposed.published());
        let ports: Vec<PortMap> = spec.publish.iter().cloned().chain(exposed).collect();
        self.containers.insert(spec.name.clone(), container.into());
        self.publish(&spec.name, &ports, &BTreeSet::new(), context)?;
        Ok(Effect::Changed)
    }

    pub(super) fn remove_containers(&mut self, names: &[String]) -> Result<Effect, Refusal> {
        for name in names {
            self.container(name)?;
        }
        Ok(self.prune_containers(names))
    }

    /// Without a complaint about those that are gone: between the caller's look and this, somebody may have been faster.
    pub(super) fn prune_containers(&mut self, names: &[String]) -> Effect {
        let names: BTreeSet<&String> = names.iter().collect();
        let before = self.containers.len();
        self.containers.retain(|name, _| !names.contains(name));
        if self.containers.len() == before {
            return Effect::Unchanged;
        }
        self.publishes.retain(|_, publish| !names.contains(&publish.container));
        Effect::Changed
    }

    fn check_names(&self, spec: &ContainerSpec) -> Result<(), Refusal> {
        check_name(Kind::Container, &spec.name)?;
        if self.containers.contains_key(&spec.name) {
            return Err(Refusal::NameTaken { kind: Kind::Container, name: spec.name.clone() });
        }
        spec.hostname.as_ref().map_or(Ok(()), |hostname| check_name(Kind::Host, hostname))
    }

    /// The mode, and the networks to plug in with what is wanted there.
    fn place_of(&self, spec: &ContainerSpec) -> Result<Place, Refusal> {
        let attached = if spec.networks.is_empty() { vec![Attach::to(BRIDGE)] } else { spec.networks.clone() };
        let mut place = Place { attached, ..Place::alone(Mode::Bridge) };
        let mut seen = BTreeSet::new();
        for attach in &place.attached {
            let name = &attach.network;
            if !seen.insert(name) {
                return Err(Refusal::NetworkTwice { network: name.clone() });
            }
            let alone = if let Some(other) = name.strip_prefix(SHARED) {
                Place { shares: Some(self.sharable(other)?), ..Place::alone(Mode::Container) }
            } else {
                match self.network(name)?.driver {
                    Driver::Bridge | Driver::Macvlan | Driver::Ipvlan => continue,
                    Driver::Host => Place::alone(Mode::Host),
                    Driver::None => Place::alone(Mode::None),
                }
            };
            if place.attached.len() > 1 {
                return Err(Refusal::NetworkStandsAlone { network: name.clone() });
            }
            place = Place { attached: Vec::new(), ..alone };
            break;
        }
        if place.attached.len() > NETWORKS_MAX {
            return Err(Refusal::TooManyNetworks { container: spec.name.clone() });
        }
        place.spread(spec)?;
        Ok(place)
    }

    /// A container whose namespace another may share: one that has a namespace of its own.
    fn sharable(&self, name: &str) -> Result<Shared, Refusal> {
        let other = self.container(name)?;
        match (other.mode, &other.shares) {
            (Mode::Host, _) => Err(Refusal::SharesHost { other: name.to_owned() }),
            (Mode::Container, Some(end)) => {
                Err(Refusal::SharesSharer { other: name.to_owned(), end: end.name.clone() })
            }
            (Mode::Bridge | Mode::None | Mode::Container, _) => {
                Ok(Shared { name: name.to_owned(), id: other.id.clone() })
            }
        }
    }

    fn check_namespace(&self, spec: &ContainerSpec, mode: Mode, context: &Context) -> Result<(), Refusal> {
        let Some(path) = &spec.netns else {
            return match mode {
                Mode::Bridge | Mode::None if context.namespaces.contains(&spec.name) => {
                    Err(Refusal::NamespaceExists { name: spec.name.clone() })
                }
                Mode::Bridge | Mode::None | Mode::Host | Mode::Container => Ok(()),
            };
        };
        if mode == Mode::Host {
            return Err(Refusal::NeedsNetwork { option: "--netns", network: "host".to_owned() });
        }
        if !path.is_absolute() {
            return Err(Refusal::RelativeNamespace { path: path.clone() });
        }
        match context.given_namespaces.get(path).copied().unwrap_or(NamespaceAt::Nothing) {
            NamespaceAt::Other => {}
            NamespaceAt::Host => return Err(Refusal::HostNamespace { path: path.clone() }),
            NamespaceAt::Nothing => return Err(Refusal::NoNamespace { path: path.clone() }),
        }
        match self.containers.values().find(|other| other.netns.as_ref() == Some(path)) {
            Some(other) => Err(Refusal::NamespaceInUse { path: path.clone(), container: other.name.clone() }),
            None => Ok(()),
        }
    }
}

/// How a container stands to networks.
struct Place {
    mode: Mode,
    attached: Vec<Attach>,
    shares: Option<Shared>,
}

impl Place {
    const fn alone(mode: Mode) -> Self {
        Self { mode, attached: Vec::new(), shares: None }
    }

    /// Puts what was said of no network in particular to the networks: aliases to all, addresses to the first.
    fn spread(&mut self, spec: &ContainerSpec) -> Result<(), Refusal> {
        for attach in &mut self.attached {
            attach.aliases.splice(..0, spec.aliases.iter().cloned());
        }
        let Some(first) = self.attached.first_mut() else { return self.has_none(spec) };
        let twice = [
            ("--ip", spec.ip.is_some() && first.ip.is_some()),
            ("--ip6", spec.ip6.is_some() && first.ip6.is_some()),
            ("--mac", spec.mac.is_some() && first.mac.is_some()),
        ];
        if let Some((option, _)) = twice.into_iter().find(|(_, is_twice)| *is_twice) {
            return Err(Refusal::OptionTwice { option, network: first.network.clone() });
        }
        first.ip = first.ip.or(spec.ip);
        first.ip6 = first.ip6.or(spec.ip6);
        first.mac = first.mac.or(spec.mac);
        Ok(())
    }

    /// Refuses what only a container on networks can have.
    fn has_none(&self, spec: &ContainerSpec) -> Result<(), Refusal> {
        let about_networks = [
            ("--ip", spec.ip.is_some()),
            ("--ip6", spec.ip6.is_some()),
            ("--mac", spec.mac.is_some()),
            ("--alias", !spec.aliases.is_empty()),
        ];
        let about_namespace = [
            ("--netns", spec.netns.is_some()),
            ("--hostname", spec.hostname.is_some()),
            ("--dns", !spec.dns.is_empty()),
            ("--dns-search", !spec.dns_search.is_empty()),
            ("--dns-option", !spec.dns_options.is_empty()),
            ("--add-host", !spec.extra_hosts.is_empty()),
            ("--publish", !spec.publish.is_empty()),
            ("--publish-all", spec.publish_all),
            ("--expose", !spec.expose.is_empty()),
            ("--router", spec.router),
        ];
        let given =
            |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(option, _)| *option);
        let option = given(&about_networks);
        let network = match (self.mode, &self.shares) {
            (Mode::Container, Some(shared)) => {
                return match option.or_else(|| given(&about_namespace)) {
                    Some(option) => Err(Refusal::SharesNamespace { option, other: shared.name.clone() }),
                    None => Ok(()),
                };
            }
            (Mode::Host, _) => "host",
            (Mode::None | Mode::Bridge | Mode::Container, _) => "none",
        };
        let option = option.or_else(|| given(&[("--router", spec.router && self.mode == Mode::Host)]));
        option.map_or(Ok(()), |option| Err(Refusal::NeedsNetwork { option, network: network.to_owned() }))
    }
}

/// What the user asked of its files. A container on the host sees the host's, which netd does not change.
fn check_naming(spec: &ContainerSpec, mode: Mode) -> Result<(), Refusal> {
    for (option, count, most) in [
        ("--dns", spec.dns.len(), RESOLVER_LINES_MAX),
        ("--dns-search", spec.dns_search.len(), RESOLVER_LINES_MAX),
        ("--dns-option", spec.dns_options.len(), RESOLVER_LINES_MAX),
        ("--add-host", spec.extra_hosts.len(), EXTRA_HOSTS_MAX),
    ] {
        if count > most {
            return Err(Refusal::TooMany { option, most });
        }
        // `--dns` was taken there before, and says nothing.
        if count > 0 && mode == Mode::Host && option != "--dns" {
            return Err(Refusal::NeedsNetwork { option, network: "host".to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::command::Command;
    use crate::model::testing::{container, context, state};

    fn on(name: &str, network: &str) -> ContainerSpec {
        ContainerSpec { networks: vec![network.parse().unwrap()], ..container(name) }
    }

    fn after(mut state: State, specs: &[ContainerSpec]) -> State {
        for spec in specs {
            state.apply(&Command::CreateContainer(spec.clone()), &context()).unwrap();
        }
        state
    }

    fn refused(state: &State, spec: ContainerSpec) -> (&'static str, String) {
        let refusal = state.clone().apply(&Command::CreateContainer(spec), &context()).expect_err("should be refused");
        (refusal.code(), refusal.to_string())
    }

    #[test]
    fn a_namespace_is_shared_with_all_that_belongs_to_it() {
        let dns = vec!["10.1.1.1".parse().unwrap()];
        let web = ContainerSpec { hostname: Some("www".to_owned()), dns: dns.clone(), ..container("site") };
        let state = after(state(), &[web, on("sharer", "container:site"), on("alone", "none")]);
        let sharer = &state.containers["sharer"];
        assert_eq!((sharer.mode, sharer.hostname.as_str(), &sharer.dns), (Mode::Container, "www", &dns));
        assert_eq!(sharer.shares.as_ref().unwrap().name, "site");
        assert!(sharer.endpoints.is_empty() && sharer.netns.is_none());
        assert_eq!(state.shared(sharer.shares.as_ref().unwrap()).unwrap().name, "site");
        after(state.clone(), &[on("two", "container:alone")]);
        // While it is shared it may go.
        let mut state = state;
        state.apply(&Command::RemoveContainers(vec!["site".to_owned()]), &context()).unwrap();
        assert!(state.containers.contains_key("sharer"));
    }

    #[test]
    fn what_belongs_to_the_other_is_refused_by_name() {
        let state = after(state(), &[on("hosted", "host"), on("sharer", "container:web")]);
        let shared = || on("new", "container:web");
        let ip = Some("10.208.0.9".parse().unwrap());
        let ip6 = Some("fd00::9".parse().unwrap());
        for (option, spec) in [
            ("--ip", ContainerSpec { ip, ..shared() }),
            ("--ip6", ContainerSpec { ip6, ..shared() }),
            ("--mac", ContainerSpec { mac: Some("02:00:00:00:00:01".parse().unwrap()), ..shared() }),
            ("--alias", ContainerSpec { aliases: vec!["a".to_owned()], ..shared() }),
            ("--netns", ContainerSpec { netns: Some("/run/netns/x".into()), ..shared() }),
            ("--hostname", ContainerSpec { hostname: Some("h".to_owned()), ..shared() }),
            ("--dns", ContainerSpec { dns: vec!["10.1.1.1".parse().unwrap()], ..shared() }),
            ("--publish", ContainerSpec { publish: vec!["80:80".parse().unwrap()], ..shared() }),
            ("--publish-all", ContainerSpec { publish_all: true, ..shared() }),
            ("--expose", ContainerSpec { expose: vec!["80".parse().unwrap()], ..shared() }),
            ("--router", ContainerSpec { router: true, ..shared() }),
        ] {
            let text = format!(
                "{option} has no place here: the container shares the namespace of \"web\", which has that; leave \
                 {option} out, or give it to \"web\""
            );
            assert_eq!(refused(&state, spec), ("shares_namespace", text));
        }
        for (spec, code, text) in [
            (
                on("new", "container:sharer"),
                "shares_sharer",
                "container \"sharer\" itself shares the namespace of \"web\"; use --network container:web",
            ),
            (
                on("new", "container:hosted"),
                "shares_host",
                "container \"hosted\" is on the host's own network; use --network host",
            ),
            (
                ContainerSpec { router: true, ..on("new", "host") },
                "needs_network",
                "--router needs a network of its own, and \"host\" is none; leave --router out or choose another network",
            ),
            (
                ContainerSpec { ip, ..on("new", "name=bridge,ip=10.208.0.8") },
                "option_twice",
                "--ip is given twice for network \"bridge\"; give it once",
            ),
        ] {
            assert_eq!(refused(&state, spec), (code, text.to_owned()));
        }
    }

    #[test]
    fn what_is_exposed_is_published_where_netd_picks_when_all_is_to_be() {
        let expose: Vec<_> = ["80", "9000-9001/udp", "80/tcp"].map(|text| text.parse().unwrap()).into();
        let quiet = ContainerSpec { expose: expose.clone(), ..container("quiet") };
        let loud = ContainerSpec { expose, publish_all: true, ..container("loud") };
        let state = after(state(), &[quiet, loud]);
        assert_eq!(state.containers["quiet"].exposed.len(), 2, "none twice");
        let ports: Vec<String> = state
            .publishes
            .iter()
            .map(|(key, publish)| {
                assert!(publish.ipv6 && publish.container == "loud");
                format!("{} {}/{}", key.host_port, publish.container_port, key.protocol)
            })
            .collect();
        assert_eq!(ports, ["49152 80/tcp", "49152 9000/udp", "49153 9001/udp"]);
    }
}
