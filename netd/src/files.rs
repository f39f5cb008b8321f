//! What do a container's `resolv.conf`, `hosts` and `hostname` say, and where are they?
//!
//! They follow from the state, are made again at every start, and are bound over the host's files by `netctl exec`.

use crate::model::state::{Container, Mode, State};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The host's resolver configuration.
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// The host's real servers, where `/etc/resolv.conf` names only systemd-resolved's own address on the loopback device.
const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

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

/// Writes the files of one container.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, container: &Container) -> io::Result<()> {
    let Some(paths) = Paths::of(folder, container) else { return Ok(()) };
    fs::create_dir_all(folder.join(&container.name))?;
    replace(&paths.resolv_conf, &resolv_conf(&host_resolv_conf(), &container.dns))?;
    replace(&paths.hosts, &hosts(container))?;
    replace(&paths.hostname, &format!("{}\n", container.hostname))
}

/// Removes the files of one container; no error when they are gone.
///
/// # Errors
/// When the folder cannot be changed.
pub fn remove(folder: &Path, name: &str) -> io::Result<()> {
    match fs::remove_dir_all(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes the files of every container and removes those of containers that are gone.
///
/// # Errors
/// When the folder cannot be changed.
pub fn sync(folder: &Path, state: &State) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut present = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        present.extend(entry?.file_name().into_string());
    }
    for name in present.iter().filter(|name| !state.containers.contains_key(*name)) {
        remove(folder, name)?;
    }
    state.containers.values().try_for_each(|container| write(folder, container))
}

/// Whole or not at all: a reader never sees half a file.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

fn host_resolv_conf() -> String {
    let text = fs::read_to_string(HOST_RESOLV_CONF).unwrap_or_default();
    if servers(&text).all(|server| server.is_loopback()) {
        return fs::read_to_string(SYSTEMD_RESOLV_CONF).unwrap_or(text);
    }
    text
}

fn servers(resolv_conf: &str) -> impl Iterator<Item = IpAddr> {
    resolv_conf.lines().filter_map(server)
}

/// The server that a line of resolv.conf(5) names; a zone, as in `fe80::1%eth0`, means nothing in a container.
fn server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| *word == "nameserver")?;
    words.next()?.parse().ok()
}

/// The host's file without servers that a container cannot reach: those on the host's loopback device. `dns`, if any,
/// stands in place of the host's servers.
fn resolv_conf(host: &str, dns: &[IpAddr]) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    for address in dns {
        line(&format!("nameserver {address}"));
    }
    for kept in host.lines() {
        let is_server = kept.split_ascii_whitespace().next() == Some("nameserver");
        let reachable = server(kept).is_some_and(|server| !server.is_loopback());
        if !is_server && !kept.trim_start().starts_with(['#', ';']) || is_server && reachable && dns.is_empty() {
            line(kept);
        }
    }
    text
}

/// Like Docker's: the loopback names, then the container's own.
fn hosts(container: &Container) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::\tip6-localnet\n\
        ff00::\tip6-mcastprefix\n\
        ff02::1\tip6-allnodes\n\
        ff02::2\tip6-allrouters\n"
        .to_owned();
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

    #[test]
    fn servers_on_the_loopback_device_are_left_out() {
        let host = "# made by hand\nsearch example.org\nnameserver 127.0.0.53\nnameserver 198.18.0.53\noptions edns0\n";
        assert_eq!(resolv_conf(host, &[]), "search example.org\nnameserver 198.18.0.53\noptions edns0\n");
        let dns = ["198.18.0.1".parse().expect("an address")];
        assert_eq!(resolv_conf(host, &dns), "nameserver 198.18.0.1\nsearch example.org\noptions edns0\n");
    }

    #[test]
    fn a_container_knows_its_own_names() {
        assert!(hosts(&container("web")).ends_with("\n10.208.0.2\twww web\n"));
        assert!(hosts(&container("www")).ends_with("\n10.208.0.2\twww\n"));
    }

    #[test]
    fn files_follow_the_state() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::default();
        state.containers.insert("web".to_owned(), container("web"));
        sync(folder.path(), &state).expect("written");
        let paths = Paths::of(folder.path(), &container("web")).expect("files of its own");
        assert_eq!(fs::read_to_string(&paths.hostname).expect("hostname"), "www\n");
        state.containers.clear();
        sync(folder.path(), &state).expect("written");
        assert!(!paths.hosts.exists());
        remove(folder.path(), "web").expect("removing what is gone is no error");
    }
}
