//! How does the agent listen inside the containers' namespaces, and where does it still do?
//!
//! One UDP socket and one TCP listener a namespace, at one port of 127.0.0.11 that the kernel picks, so that every port
//! that a container would like for itself is free. The programs turn what is asked of port 53 there (`NAMES`).
//!
//! A socket keeps its namespace alive, whoever made it. So when nothing stands at its path any more, or another namespace
//! does, it is closed at the next look, and `gone` sees to it that there is one. Meanwhile [`keep`] holds duplicates in
//! a process of their own, so that the next agent goes on with the same sockets, and with what waits in them.

mod gone;
pub mod keep;
pub mod keeper;
pub mod led;
mod wire;

use super::{netns, sockets};
use gone::Gone;
use keep::Keep;
use netd_common::limits::NAMES_MAX;
use netd_common::names::RESOLVER;
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Ports that are tried until one is free in both protocols.
const TRIES_MAX: usize = 16;
/// Bytes of questions that wait while no agent is there.
const BUFFER_SIZE: usize = 1 << 20;

/// Where and with whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The socket of the process that keeps the sockets.
    pub keeper: PathBuf,
    /// The program that becomes it, when it is started with [`keeper::VERB`]; none: nobody keeps them.
    pub program: Option<PathBuf>,
    /// Is told what is opened and closed.
    pub server: mpsc::Sender<Change>,
}

/// What the server of the sockets is told.
#[derive(Clone, Debug)]
pub enum Change {
    Opened(Arc<Listener>),
    /// By the cookie.
    Closed(u64),
}

/// The sockets of one namespace. They do not block.
#[derive(Debug)]
pub struct Listener {
    pub tag: Tag,
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

/// What tells the sockets of one namespace from others'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// `SO_NETNS_COOKIE`.
    pub cookie: u64,
    pub port: u16,
    /// Device and inode of the namespace.
    pub identity: (u64, u64),
    /// The path at which it was entered.
    pub path: PathBuf,
}

impl Tag {
    /// Whether the namespace still stands at its path. Its inode is not another's while a socket keeps it.
    fn stands(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }
}

/// The listeners that live.
#[derive(Debug)]
pub struct Names {
    listeners: BTreeMap<PathBuf, Arc<Listener>>,
    server: mpsc::Sender<Change>,
    keep: Keep,
    gone: Gone,
}

impl Names {
    /// Takes back what a former agent has left. `changed` is told when a path may be gone.
    ///
    /// # Errors
    /// When the system refuses what everything here needs.
    pub fn open(options: Options, changed: mpsc::Sender<()>) -> io::Result<Self> {
        let Options { keeper, program, server } = options;
        let (keep, kept) = Keep::take_back(keeper, program);
        let mut names = Self { listeners: BTreeMap::new(), server, keep, gone: Gone::open(changed)? };
        for (tag, [udp, tcp]) in kept {
            let is_free = !names.listeners.contains_key(&tag.path);
            match Listener::taken_back(&tag, udp, tcp) {
                Ok(listener) if tag.stands() && is_free => names.add(listener),
                Ok(_) => names.keep.discard(tag.cookie),
                Err(error) => {
                    tracing::warn!(path = %tag.path.display(), %error, "a kept name server is not usable");
                    names.keep.discard(tag.cookie);
                }
            }
        }
        if !names.listeners.is_empty() {
            tracing::info!(count = names.listeners.len(), "name servers go on");
        }
        Ok(names)
    }

    /// The namespaces in which somebody listens and to whom the programs lead, by path; for an entry of `NAMES` that
    /// nobody listens for, a path that only [`Self::cookie`] knows. `ports` is what `NAMES` holds, by cookie.
    pub fn observe(&mut self, ports: &HashMap<u64, u16>) -> BTreeSet<PathBuf> {
        let fallen: Vec<PathBuf> = self
            .listeners
            .iter()
            .filter(|(_, listener)| !listener.tag.stands())
            .map(|(path, _)| path.clone())
            .collect();
        for path in &fallen {
            self.drop_listener(path);
        }
        self.keep.revive(self.listeners.values());
        let is_led = |tag: &Tag| ports.get(&tag.cookie) == Some(&tag.port);
        let heard = self.listeners.values().filter(|listener| is_led(&listener.tag));
        let mut paths: BTreeSet<PathBuf> = heard.map(|listener| listener.tag.path.clone()).collect();
        let own: BTreeSet<u64> = self.listeners.values().map(|listener| listener.tag.cookie).collect();
        paths.extend(ports.keys().filter(|cookie| !own.contains(cookie)).map(|&cookie| stray(cookie)));
        paths
    }

    /// Listens in the namespace at `path`, where nobody does yet. The entry of `NAMES` that is due then.
    ///
    /// # Errors
    /// When there is no namespace, or no port to be had in it; `AddrNotAvailable` when its loopback device is down.
    pub fn listen(&mut self, path: &Path) -> io::Result<(u64, u16)> {
        if !self.listeners.get(path).is_some_and(|listener| listener.tag.stands()) {
            self.drop_listener(path);
            if self.listeners.len() >= NAMES_MAX {
                return Err(io::Error::other(format!("there are {NAMES_MAX} already; remove a container")));
            }
            self.add(Listener::open(path)?);
        }
        let listener = self.listeners.get(path).ok_or(io::ErrorKind::NotFound)?;
        self.keep.keep(listener);
        Ok((listener.tag.cookie, listener.tag.port))
    }

    /// Whose entry of `NAMES` it is that leads to this path.
    #[must_use]
    pub fn cookie(&self, path: &Path) -> Option<u64> {
        self.listeners.get(path).map(|listener| listener.tag.cookie).or_else(|| stray_cookie(path))
    }

    /// Listens no longer.
    pub fn close(&mut self, path: &Path) {
        self.drop_listener(path);
    }

    fn add(&mut self, listener: Listener) {
        let listener = Arc::new(listener);
        self.gone.watch(&listener.tag.path);
        // Nobody serves while everything is taken away.
        let _nobody = self.server.blocking_send(Change::Opened(Arc::clone(&listener)));
        self.listeners.insert(listener.tag.path.clone(), listener);
    }

    fn drop_listener(&mut self, path: &Path) {
        let Some(listener) = self.listeners.remove(path) else { return };
        let cookie = listener.tag.cookie;
        self.gone.forget(path);
        self.keep.discard(cookie);
        // As in `add`.
        let _nobody = self.server.blocking_send(Change::Closed(cookie));
    }
}

impl Listener {
    fn open(path: &Path) -> io::Result<Self> {
        let identity = identity(path)?;
        let (cookie, (udp, tcp)) =
            netns::in_namespace(path, || Ok::<_, io::Error>((sockets::netns_cookie()?, bind()?)))??;
        let port = udp.local_addr()?.port();
        Self { tag: Tag { cookie, port, identity, path: path.to_owned() }, udp, tcp }.prepared()
    }

    fn taken_back(tag: &Tag, udp: OwnedFd, tcp: OwnedFd) -> io::Result<Self> {
        let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
        let is_own = sockets::netns_cookie_of(&udp)? == tag.cookie
            && [udp.local_addr()?, tcp.local_addr()?].iter().all(|address| address.port() == tag.port);
        if !is_own {
            return Err(io::Error::other("it is not what it was kept as"));
        }
        Self { tag: tag.clone(), udp, tcp }.prepared()
    }

    fn prepared(self) -> io::Result<Self> {
        self.udp.set_nonblocking(true)?;
        self.tcp.set_nonblocking(true)?;
        if let Err(error) = setsockopt(&self.udp, sockopt::RcvBufForce, &BUFFER_SIZE) {
            tracing::debug!(%error, "fewer questions wait while no agent is there");
        }
        Ok(self)
    }
}

fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let address = IpAddr::from(RESOLVER);
    let mut taken = io::ErrorKind::AddrInUse.into();
    for _ in 0..TRIES_MAX {
        let udp = UdpSocket::bind((address, 0))?;
        match TcpListener::bind((address, udp.local_addr()?.port())) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}

/// Number of the interface of this name.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let namespace = std::fs::metadata(path)?;
    Ok((namespace.dev(), namespace.ino()))
}

/// How an entry of `NAMES` that nobody listens for is called: no path of a namespace is relative.
fn stray(cookie: u64) -> PathBuf {
    PathBuf::from(format!("#{cookie}"))
}

fn stray_cookie(path: &Path) -> Option<u64> {
    path.to_str()?.strip_prefix('#')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_without_a_listener_is_no_path() {
        assert_eq!(stray_cookie(&stray(17)), Some(17));
        assert!(stray(17).is_relative());
        for path in ["/run/netns/web", "/17", "#", "#x"] {
            assert_eq!(stray_cookie(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn one_port_serves_both_protocols() {
        let (udp, tcp) = bind().expect("a port of 127.0.0.11");
        assert_eq!(udp.local_addr().expect("bound"), tcp.local_addr().expect("bound"));
    }
}
