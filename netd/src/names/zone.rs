//! Who has which name, and who sees it?
//!
//! Pure: an index over one revision of the state. A container is known on each of its networks by its name, its host name,
//! the first twelve digits of its id and the aliases that it has there; each of them also with `.NETWORK` behind it.

use crate::model::state::{Container, State};
use crate::reconcile::lower::namespace;
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Digits of a container's id that are a name, as in Docker.
const SHORT_ID_SIZE: usize = 12;
/// The name of every host for itself (RFC 6761 section 6.3).
const LOCALHOST: &str = "localhost";

/// All names at one revision.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    pub revision: u64,
    /// By the path of the namespace.
    views: HashMap<PathBuf, Arc<View>>,
}

/// What the programs of one namespace see.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The networks that it is on, in the order of its interfaces.
    networks: Vec<Arc<Members>>,
    /// Whether any of these leads outside.
    pub is_outside: bool,
    /// Whom to ask for others' names; empty: the host's servers.
    pub dns: Vec<IpAddr>,
    /// The subnets of every network of netd: nobody else is asked about them.
    subnets: Arc<Vec<IpNetwork>>,
}

/// The names on one network. All of them in lower case.
#[derive(Debug, Default)]
struct Members {
    network: String,
    by_name: HashMap<String, Vec<Member>>,
    by_address: HashMap<IpAddr, String>,
}

/// A container on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    /// The same on every network.
    container: usize,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

/// What there is under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The addresses of its holders; a family in which they have none is empty.
    Addresses { ipv4: Vec<Ipv4Addr>, ipv6: Vec<Ipv6Addr> },
    /// Nothing, and nobody else is asked.
    Nothing,
    /// It is not for netd to say.
    Elsewhere,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Named(String),
    /// Nobody that is seen, and nobody else is asked.
    Nobody,
    Elsewhere,
}

impl Zone {
    /// `netns_dir` is the folder of the namespaces that netd makes.
    #[must_use]
    pub fn of(state: &State, netns_dir: &Path) -> Self {
        let mut members: BTreeMap<&str, Members> = BTreeMap::new();
        for network in state.networks.values() {
            let own = Members { network: network.name.to_ascii_lowercase(), ..Members::default() };
            members.insert(&network.name, own);
        }
        for (number, container) in state.containers.values().enumerate() {
            for endpoint in &container.endpoints {
                let Some(members) = members.get_mut(endpoint.network.as_str()) else { continue };
                let mut member = Member { container: number, ipv4: None, ipv6: None };
                for address in endpoint.addresses() {
                    match address {
                        IpAddr::V4(ipv4) => member.ipv4 = Some(ipv4),
                        IpAddr::V6(ipv6) => member.ipv6 = Some(ipv6),
                    }
                    members.by_address.insert(address, format!("{}.{}", container.name, endpoint.network));
                }
                for name in names_of(container).chain(endpoint.aliases.iter().map(String::as_str)) {
                    let holders = members.by_name.entry(name.to_ascii_lowercase()).or_default();
                    if !holders.contains(&member) {
                        holders.push(member);
                    }
                }
            }
        }
        let members: BTreeMap<&str, Arc<Members>> =
            members.into_iter().map(|(name, of)| (name, Arc::new(of))).collect();
        let subnets = state.networks.values().flat_map(|network| network.subnets.iter().map(|subnet| subnet.subnet));
        let subnets = Arc::new(subnets.collect());
        let mut zone = Self { revision: state.revision, views: HashMap::new() };
        for container in state.containers.values().filter(|container| !container.endpoints.is_empty()) {
            // Containers that share a namespace share its networks too.
            let view = Arc::make_mut(zone.views.entry(namespace(container, netns_dir)).or_default());
            view.subnets = Arc::clone(&subnets);
            view.dns.extend(&container.dns);
            for endpoint in &container.endpoints {
                view.networks.extend(members.get(endpoint.network.as_str()).cloned());
                view.is_outside |= state.networks.get(&endpoint.network).is_some_and(|network| network.is_outside());
            }
        }
        zone
    }

    /// None: no container lives there.
    #[must_use]
    pub fn view(&self, namespace: &Path) -> Option<&Arc<View>> {
        self.views.get(namespace)
    }
}

/// Those that a container has on every network.
fn names_of(container: &Container) -> impl Iterator<Item = &str> {
    let short = container.id.get(..SHORT_ID_SIZE);
    [Some(container.name.as_str()), Some(container.hostname.as_str()), short].into_iter().flatten()
}

impl View {
    /// `name` is in lower case and without a dot at its end.
    #[must_use]
    pub fn find(&self, name: &str) -> Found {
        if name == LOCALHOST || name.strip_suffix(LOCALHOST).is_some_and(|front| front.ends_with('.')) {
            return Found::Addresses { ipv4: vec![Ipv4Addr::LOCALHOST], ipv6: vec![Ipv6Addr::LOCALHOST] };
        }
        let mut holders = Holders::default();
        let mut is_ours = !name.contains('.');
        for members in &self.networks {
            holders.add(members, name);
            let front = name.strip_suffix(members.network.as_str()).and_then(|front| front.strip_suffix('.'));
            if let Some(front) = front {
                is_ours = true;
                holders.add(members, front);
            }
        }
        match holders {
            holders if !holders.seen.is_empty() => Found::Addresses { ipv4: holders.ipv4, ipv6: holders.ipv6 },
            _ if is_ours => Found::Nothing,
            _ => Found::Elsewhere,
        }
    }

    /// The name of a peer's address; those that are private to netd are nobody's for others.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Holder {
        if address.is_loopback() {
            return Holder::Named(LOCALHOST.to_owned());
        }
        if let Some(name) = self.networks.iter().find_map(|members| members.by_address.get(&address)) {
            return Holder::Named(name.clone());
        }
        if self.subnets.iter().any(|subnet| subnet.contains(address)) { Holder::Nobody } else { Holder::Elsewhere }
    }
}

/// The holders of a name, as they are found. A container that is a peer on several networks counts once: by its address on
/// the first of them that has one, in each family.
#[derive(Debug, Default)]
struct Holders {
    seen: Vec<usize>,
    seen4: Vec<usize>,
    seen6: Vec<usize>,
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
}

impl Holders {
    fn add(&mut self, members: &Members, name: &str) {
        // On one network nobody is twice under a name, so what is looked through is what other networks gave.
        let before = [self.seen.len(), self.seen4.len(), self.seen6.len()];
        let [seen, seen4, seen6] = before;
        let is_new = |seen: &[usize], until: usize, container: usize| {
            !seen.get(..until).unwrap_or_default().contains(&container)
        };
        for member in members.by_name.get(name).into_iter().flatten() {
            if is_new(&self.seen, seen, member.container) {
                self.seen.push(member.container);
            }
            if let Some(ipv4) = member.ipv4.filter(|_| is_new(&self.seen4, seen4, member.container)) {
                self.seen4.push(member.container);
                self.ipv4.push(ipv4);
            }
            if let Some(ipv6) = member.ipv6.filter(|_| is_new(&self.seen6, seen6, member.container)) {
                self.seen6.push(member.container);
                self.ipv6.push(ipv6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attach::Attach;
    use crate::model::command::{Command, ContainerSpec, NetworkSpec};
    use crate::model::testing::{container, context, network};

    /// `blue` and `green` with containers on one or both; `six` has IPv6 alone and `dual` both.
    fn zone() -> Zone {
        let mut state = State::default();
        let spec = |name: &str, networks: &[&str]| ContainerSpec {
            networks: networks.iter().copied().map(Attach::to).collect(),
            ..container(name)
        };
        let subnets = |name: &str, subnets: &[&str]| {
            let subnets = subnets.iter().map(|subnet| subnet.parse().unwrap()).collect();
            Command::CreateNetwork(NetworkSpec { subnets, ..network(name) })
        };
        let inner = NetworkSpec { internal: true, subnets: vec!["10.3.0.0/24".parse().unwrap()], ..network("inner") };
        let commands = [
            Command::InstallBuiltins,
            subnets("blue", &["10.1.0.0/24"]),
            subnets("Green", &["10.2.0.0/24"]),
            subnets("six", &["fd00:6::/64"]),
            subnets("dual", &["10.4.0.0/24", "fd00:4::/64"]),
            Command::CreateNetwork(inner),
            Command::CreateContainer(ContainerSpec { aliases: vec!["DB".to_owned()], ..spec("one", &["blue"]) }),
            Command::CreateContainer(ContainerSpec {
                aliases: vec!["db".to_owned()],
                ..spec("two", &["blue", "Green"])
            }),
            Command::CreateContainer(ContainerSpec { hostname: Some("www".to_owned()), ..spec("three", &["Green"]) }),
            Command::CreateContainer(spec("both", &["blue", "Green"])),
            Command::CreateContainer(spec("v6", &["six"])),
            Command::CreateContainer(spec("v46", &["six", "dual"])),
            Command::CreateContainer(spec("shut", &["inner"])),
            Command::CreateContainer(spec("dotted.name", &["blue"])),
        ];
        for command in commands {
            state.apply(&command, &context()).unwrap();
        }
        Zone::of(&state, Path::new("/run/netns"))
    }

    fn found(who: &str, name: &str) -> String {
        match zone().view(&Path::new("/run/netns").join(who)).expect("a view").find(name) {
            Found::Addresses { ipv4, ipv6 } => {
                let texts = ipv4.iter().map(ToString::to_string).chain(ipv6.iter().map(ToString::to_string));
                texts.collect::<Vec<_>>().join(" ")
            }
            Found::Nothing => "nothing".to_owned(),
            Found::Elsewhere => "elsewhere".to_owned(),
        }
    }

    #[test]
    fn a_container_sees_its_peers_under_all_their_names_and_nobody_else() {
        for (who, name, expected) in [
            ("one", "two", "10.1.0.3"),
            ("one", "two.blue", "10.1.0.3"),
            ("one", "one", "10.1.0.2"),
            ("one", "070707070707", "10.1.0.4 10.1.0.5 10.1.0.2 10.1.0.3"),
            ("one", "070707070707.blue", "10.1.0.4 10.1.0.5 10.1.0.2 10.1.0.3"),
            // An alias of several, on a network of each.
            ("one", "db", "10.1.0.2 10.1.0.3"),
            ("one", "db.blue", "10.1.0.2 10.1.0.3"),
            ("three", "db.green", "10.2.0.2"),
            ("both", "db", "10.1.0.2 10.1.0.3"),
            // On both networks: once, by the first.
            ("both", "two", "10.1.0.3"),
            ("both", "two.green", "10.2.0.2"),
            ("both", "www", "10.2.0.3"),
            ("both", "three", "10.2.0.3"),
            ("one", "dotted.name", "10.1.0.5"),
            ("one", "dotted.name.blue", "10.1.0.5"),
            // Not on a network of its own.
            ("one", "three", "nothing"),
            ("one", "www", "nothing"),
            ("one", "three.blue", "nothing"),
            ("one", "nobody", "nothing"),
            ("one", "nobody.blue", "nothing"),
            ("three", "one.green", "nothing"),
            ("one", "blue", "nothing"),
            // Somebody else's.
            ("one", "two.green", "elsewhere"),
            ("one", "example.org", "elsewhere"),
            ("one", "www.skyblue", "elsewhere"),
            // Each family by the first network that has it.
            ("v6", "v46", "fd00:6::3"),
            ("v46", "v46", "10.4.0.2 fd00:6::3"),
            ("v46", "v6", "fd00:6::2"),
            ("one", "localhost", "127.0.0.1 ::1"),
            ("one", "a.localhost", "127.0.0.1 ::1"),
            ("one", "notlocalhost", "nothing"),
        ] {
            assert_eq!(found(who, name), expected, "{who} asks for {name}");
        }
    }

    #[test]
    fn addresses_have_the_names_of_peers_and_others_private_ones_have_none() {
        let zone = zone();
        let view = |who: &str| zone.view(&Path::new("/run/netns").join(who)).expect("a view");
        let named = |name: &str| Holder::Named(name.to_owned());
        for (who, address, expected) in [
            ("one", "10.1.0.3", named("two.blue")),
            ("both", "10.2.0.2", named("two.Green")),
            ("v46", "fd00:6::2", named("v6.six")),
            ("one", "127.0.0.1", named("localhost")),
            ("one", "10.1.0.99", Holder::Nobody),
            ("one", "10.2.0.2", Holder::Nobody),
            ("one", "fd00:6::2", Holder::Nobody),
            ("one", "10.1.0.1", Holder::Nobody),
            ("one", "198.18.0.2", Holder::Elsewhere),
        ] {
            assert_eq!(view(who).holder(address.parse().unwrap()), expected, "{who} asks for {address}");
        }
        assert!(view("one").is_outside && !view("shut").is_outside);
        assert!(zone.view(Path::new("/run/netns/nobody")).is_none());
    }
}
