//! What do a container's `resolv.conf`, `hosts` and `hostname` say, and where are they?
//!
//! They follow from the state and from the host's own `resolv.conf`, are made again at every start, and are bound over
//! the host's files by `netctl exec`. They are written in place: who has bound one sees it change.

use crate::model::family::Family;
use crate::model::naming::HostAddress;
use crate::model::state::{Container, Mode, State};
use crate::resolv_conf::ResolvConf;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The host's real servers, where its `resolv.conf` names only systemd-resolved's own address on the loopback device.
const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";
/// Where a container asks: see [`crate::names`].
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// A name without a dot is one of a peer: it is asked as it is before a search domain is put behind it.
const NDOTS: &str = "ndots:0";

/// The folder of the files, and what they are made of beside the state.
#[derive(Clone, Debug)]
pub struct Files {
    pub folder: PathBuf,
    /// The host's `resolv.conf`.
    pub resolv_conf: PathBuf,
}

/// The three files of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
    pub hostname: PathBuf,
}

impl Paths {
    /// None for a container in the host's own namespace, which sees the host's files, and for one in another's, which sees
    /// those of that one.
    #[must_use]
    pub fn of(folder: &Path, container: &Container) -> Option<Self> {
        match container.mode {
            Mode::Host | Mode::Container => None,
            Mode::Bridge | Mode::None => {
                let own = folder.join(&container.name);
                Some(Self {
                    resolv_conf: own.join("resolv.conf"),
                    hosts: own.join("hosts"),
                    hostname: own.join("hostname"),
                })
            }
        }
    }
}

impl Files {
    /// Writes the files of one container.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, state: &State, container: &Container) -> io::Result<()> {
        self.make_folder(container)?;
        self.write_with(&self.host_resolv_conf(), state, container)
    }

    fn make_folder(&self, container: &Container) -> io::Result<()> {
        match container.mode {
            Mode::Host | Mode::Container => Ok(()),
            Mode::Bridge | Mode::None => fs::create_dir_all(self.folder.join(&container.name)),
        }
    }

    fn write_with(&self, host: &ResolvConf, state: &State, container: &Container) -> io::Result<()> {
        let Some(paths) = Paths::of(&self.folder, container) else { return Ok(()) };
        write_in_place(&paths.resolv_conf, &resolv_conf(host, container))?;
        write_in_place(&paths.hosts, &hosts(state, container))?;
        write_in_place(&paths.hostname, &format!("{}\n", container.hostname))
    }

    /// Removes the files of one container; no error when they are gone.
    ///
    /// # Errors
    /// When the folder cannot be changed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Writes the files of every container and removes those of containers that are gone.
    ///
    /// # Errors
    /// When the folder cannot be changed.
    pub fn sync(&self, state: &State) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            present.extend(entry?.file_name().into_string());
        }
        for name in present.iter().filter(|name| !state.containers.contains_key(*name)) {
            self.remove(name)?;
        }
        let host = self.host_resolv_conf();
        state.containers.values().try_for_each(|container| {
            self.make_folder(container)?;
            self.write_with(&host, state, container)
        })
    }

    /// Writes the files of every container anew, where they are still there.
    ///
    /// # Errors
    /// When the folder cannot be changed.
    pub fn refresh(&self, state: &State) -> io::Result<()> {
        let host = self.host_resolv_conf();
        let present = state.containers.values().filter(|container| self.folder.join(&container.name).exists());
        present.map(|container| self.write_with(&host, state, container)).try_for_each(|written| match written {
            // Removed a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Changes whenever the host's `resolv.conf` does.
    #[must_use]
    pub fn host_version(&self) -> Option<(SystemTime, u64)> {
        let file = fs::metadata(&self.resolv_conf).ok()?;
        Some((file.modified().ok()?, file.len()))
    }

    fn host_resolv_conf(&self) -> ResolvConf {
        let read = |path: &Path| fs::read_to_string(path).map(|text| ResolvConf::parse(&text));
        let conf = read(&self.resolv_conf).unwrap_or_default();
        if conf.servers.iter().all(|server| server.address.is_loopback()) {
            return read(Path::new(SYSTEMD_RESOLV_CONF)).unwrap_or(conf);
        }
        conf
    }
}

/// Nothing is written when nothing changes.
fn write_in_place(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|now| now == text.as_bytes()) {
        return Ok(());
    }
    // Written over and then cut, and not the other way round: no reader finds the file empty.
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// A container on a network asks netd. One without has nobody to ask, and sees the host's servers as far as they are not
/// on the host's loopback device, for the day on which somebody else gives it a way out.
fn resolv_conf(host: &ResolvConf, container: &Container) -> String {
    let mut text = String::new();
    let mut line = |key: &str, words: &[String]| {
        if !words.is_empty() {
            text.push_str(&format!("{key} {}\n", words.join(" ")));
        }
    };
    let is_on_a_network = !container.endpoints.is_empty();
    if is_on_a_network {
        line("nameserver", &[RESOLVER.to_string()]);
    } else if container.dns.is_empty() {
        // A zone, as in fe80::1%eth0, means nothing in a container.
        let reachable = host.servers.iter().filter(|server| !server.address.is_loopback() && server.zone.is_none());
        reachable.for_each(|server| line("nameserver", &[server.address.to_string()]));
    } else {
        container.dns.iter().for_each(|address| line("nameserver", &[address.to_string()]));
    }
    let search: Vec<String> = match container.dns_search.as_slice() {
        [] => host.search.clone(),
        own => own.iter().filter_map(|domain| domain.domain().map(ToOwned::to_owned)).collect(),
    };
    line("search", &search);
    let mut options: Vec<String> = match container.dns_options.as_slice() {
        [] => host.options.clone(),
        own => own.iter().map(|option| option.as_str().to_owned()).collect(),
    };
    if is_on_a_network && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push(NDOTS.to_owned());
    }
    line("options", &options);
    text
}

/// Like Docker's: the loopback names, those that were asked for, then the container's own.
fn hosts(state: &State, container: &Container) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::\tip6-localnet\n\
        ff00::\tip6-mcastprefix\n\
        ff02::1\tip6-allnodes\n\
        ff02::2\tip6-allrouters\n"
        .to_owned();
    for host in &container.extra_hosts {
        let addresses = match host.address {
            HostAddress::Ip(address) => vec![address],
            HostAddress::Gateway => gateways(state, container),
        };
        for address in addresses {
            text.extend([&address.to_string(), "\t", &host.name, "\n"]);
        }
    }
    let mut names = container.hostname.clone();
    if container.name != container.hostname {
        names = format!("{names} {}", container.name);
    }
    for endpoint in &container.endpoints {
        for address in [endpoint.ipv4, endpoint.ipv6].into_iter().flatten() {
            text.extend([&address.ip().to_string(), "\t", &names, "\n"]);
        }
    }
    text
}

/// Of the container's first network, where this host itself answers.
fn gateways(state: &State, container: &Container) -> Vec<IpAddr> {
    let first = container.endpoints.first().and_then(|endpoint| state.networks.get(&endpoint.network));
    let subnets = first.into_iter().flat_map(|network| Family::BOTH.map(|family| network.subnet(family)));
    subnets.flatten().map(|subnet| subnet.gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::state::{Endpoint, Mac};

    fn container(name: &str) -> Container {
        Container {
            name: name.to_owned(),
            id: "0".repeat(64),
            mode: Mode::Bridge,
            netns: None,
            hostname: "www".to_owned(),
            shares: None,
            router: false,
            exposed: [].into(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            extra_hosts: Vec::new(),
            labels: [].into(),
            created: jiff::Timestamp::UNIX_EPOCH,
            endpoints: vec![Endpoint {
                number: 1,
                network: "bridge".to_owned(),
                interface: "eth0".to_owned(),
                host_interface: "nd1".to_owned(),
                mac: Mac([2, 0x42, 10, 208, 0, 2]),
                ipv4: Some("10.208.0.2/24".parse().expect("an address")),
                ipv6: None,
                aliases: Vec::new(),
                gw_priority: 0,
            }],
        }
    }

    fn words<T: std::str::FromStr<Err = String>>(words: &[&str]) -> Vec<T> {
        words.iter().map(|word| word.parse().expect(word)).collect()
    }

    #[test]
    fn a_container_on_a_network_asks_netd_and_searches_as_the_host_does() {
        let host = ResolvConf::parse("search example.org\nnameserver 127.0.0.53\noptions edns0 trust-ad\n");
        let mut web = container("web");
        let told = |web: &Container| resolv_conf(&host, web);
        assert_eq!(told(&web), "nameserver 127.0.0.11\nsearch example.org\noptions edns0 trust-ad ndots:0\n");
        assert_eq!(resolv_conf(&ResolvConf::default(), &web), "nameserver 127.0.0.11\noptions ndots:0\n");
        web.dns = vec!["198.18.0.1".parse().expect("an address")];
        web.dns_search = words(&["a.example", "b.example"]);
        web.dns_options = words(&["ndots:2", "timeout:1"]);
        assert_eq!(told(&web), "nameserver 127.0.0.11\nsearch a.example b.example\noptions ndots:2 timeout:1\n");
        web.dns_search = words(&["."]);
        assert_eq!(told(&web), "nameserver 127.0.0.11\noptions ndots:2 timeout:1\n", "no search at all");
    }

    #[test]
    fn a_container_without_a_network_sees_servers_that_are_not_on_the_loopback_device() {
        let host =
            ResolvConf::parse("search example.org\nnameserver 127.0.0.53\nnameserver 198.18.0.53\noptions edns0\n");
        let mut web = Container { endpoints: Vec::new(), ..container("web") };
        assert_eq!(resolv_conf(&host, &web), "nameserver 198.18.0.53\nsearch example.org\noptions edns0\n");
        web.dns = vec!["198.18.0.1".parse().expect("an address")];
        assert_eq!(resolv_conf(&host, &web), "nameserver 198.18.0.1\nsearch example.org\noptions edns0\n");
    }

    #[test]
    fn hosts_that_were_asked_for_are_added_with_the_gateway_in_each_family() {
        let mut state = crate::model::testing::state();
        let web = container("web");
        let web = Container { extra_hosts: words(&["db:192.0.2.7", "db:2001:db8::7", "host:host-gateway"]), ..web };
        let text = hosts(&state, &web);
        assert!(text.contains("\n192.0.2.7\tdb\n2001:db8::7\tdb\n10.208.0.1\thost\n10.208.0.2\twww web\n"), "{text}");
        state.networks.clear();
        assert!(!hosts(&state, &web).contains("\thost\n"));
    }

    #[test]
    fn a_container_knows_its_own_names() {
        assert!(hosts(&State::default(), &container("web")).ends_with("\n10.208.0.2\twww web\n"));
        assert!(hosts(&State::default(), &container("www")).ends_with("\n10.208.0.2\twww\n"));
    }

    #[test]
    fn files_follow_the_state_in_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files { folder: folder.path().to_owned(), resolv_conf: folder.path().join("host") };
        let mut state = State::default();
        state.containers.insert("web".to_owned(), container("web").into());
        files.sync(&state).expect("written");
        let paths = Paths::of(folder.path(), &container("web")).expect("files of its own");
        assert_eq!(fs::read_to_string(&paths.hostname).expect("hostname"), "www\n");
        // Who has it open, or bound elsewhere, sees what it says now, and nothing of what it said.
        let mut bound = fs::File::open(&paths.hosts).expect("hosts");
        let alone = Container { endpoints: Vec::new(), ..container("web") };
        files.write(&state, &alone).expect("written");
        let mut seen = String::new();
        io::Read::read_to_string(&mut bound, &mut seen).expect("read");
        assert_eq!(seen, hosts(&state, &alone));
        state.containers.clear();
        files.sync(&state).expect("written");
        assert!(!paths.hosts.exists());
        files.remove("web").expect("removing what is gone is no error");
    }
}
