//! How does a change go from a request to the datapath, and when is it answered?
//!
//! Gather what the rules judge by, write, wait until the reconciler has worked on that revision, look at how the touched
//! objects are doing. A change that is kept but not done yet is an error that says so.

use super::Api;
use super::error::Error;
use super::extract::Wait;
use super::host::Host;
use super::view::View;
use crate::joined::differing;
use crate::kernel::facts::NodeFacts;
use crate::model::command::{Command, Context, HostSocket, NamespaceAt, Refusal};
use crate::model::parent::LinkDriver;
use crate::model::port_map::PortMap;
use crate::model::state::{PublishKey, State};
use crate::reconcile::status::{Object, Status};
use crate::store::WriteError;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The state on both sides of one change.
#[derive(Clone, Debug)]
pub struct Changed {
    pub before: Arc<State>,
    pub after: Arc<State>,
}

/// Everything that a request sees, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    pub state: Arc<State>,
    pub status: Arc<Status>,
    pub facts: Arc<NodeFacts>,
    netns_dir: &'a Path,
    files: &'a Path,
}

impl Snapshot<'_> {
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            status: &self.status,
            facts: &self.facts,
            netns_dir: self.netns_dir,
            files: self.files,
        }
    }
}

impl<H: Host> Api<H> {
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            state: self.state.borrow().clone(),
            status: self.status.borrow().clone(),
            facts: self.facts.borrow().clone(),
            netns_dir: &self.netns_dir,
            files: &self.files.folder,
        }
    }

    /// Writes `command` and waits until the datapath has it.
    ///
    /// # Errors
    /// When it is refused: then nothing has changed. Or when it is kept, but not done in time.
    pub async fn change(self: &Arc<Self>, command: Command, wait: Wait) -> Result<Changed, Error> {
        let (api, written) = (Arc::clone(self), command.clone());
        let changed = blocking(move || api.write(&written)).await?;
        let status = self.reached(changed.after.revision, wait.timeout()).await?;
        let facts = self.facts.borrow().clone();
        for object in touched(&command, &changed, &facts) {
            if let Some(reason) = status.failing.get(&object) {
                return Err(Error::NotReady { object: describe(&object), reason: reason.clone() });
            }
        }
        Ok(changed)
    }

    fn write(&self, command: &Command) -> Result<Changed, Error> {
        let context = self.context(command)?;
        let only_one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state.borrow().clone();
        let after = self.store.write(command, &context).map_err(|error| match error {
            WriteError::Refused(refusal) => self.complete(refusal),
            WriteError::Storage(message) => Error::Storage(message),
        })?;
        drop(only_one);
        self.write_files(&before, &after).map_err(|source| Error::Host { what: "the container's files", source })?;
        Ok(Changed { before, after })
    }

    /// What `command` would change, if it were carried out now. Nothing is.
    ///
    /// # Errors
    /// When it would be refused.
    pub async fn rehearse(self: &Arc<Self>, command: Command) -> Result<Changed, Error> {
        let api = Arc::clone(self);
        blocking(move || {
            let context = api.context(&command)?;
            let before = api.state.borrow().clone();
            let mut after = State::clone(&before);
            after.apply(&command, &context).map_err(|refusal| api.complete(refusal))?;
            Ok(Changed { before, after: Arc::new(after) })
        })
        .await
    }

    /// All that the command is judged by.
    fn context(&self, command: &Command) -> Result<Context, Error> {
        Ok(Context {
            now: jiff::Timestamp::now(),
            entropy: self.host.entropy().map_err(|source| Error::Host { what: "randomness", source })?,
            facts: self.facts_for(command)?,
            host_sockets: self.host_sockets(command)?,
            namespaces: self.taken_namespaces(command),
            subnet_pools: self.subnet_pools.clone(),
            missing_drivers: self.missing_drivers(command)?,
            given_namespaces: self.given_namespaces(command),
        })
    }

    /// Only a port that is published can be in a socket's way. The kernel goes through the sockets of every namespace for
    /// the answer, and each container has some.
    fn host_sockets(&self, command: &Command) -> Result<BTreeSet<HostSocket>, Error> {
        if !command.each().any(Command::publishes) {
            return Ok(BTreeSet::new());
        }
        self.host.bound_sockets().map_err(|source| Error::Host { what: "the host's sockets", source })
    }

    /// Those of the namespaces that the command would make that are there already.
    fn taken_namespaces(&self, command: &Command) -> BTreeSet<String> {
        let names = command.each().filter_map(|command| match command {
            Command::CreateContainer(spec) => Some(&spec.name),
            _ => None,
        });
        names.filter(|name| self.host.has_namespace(name)).cloned().collect()
    }

    fn given_namespaces(&self, command: &Command) -> BTreeMap<PathBuf, NamespaceAt> {
        let paths = command.each().filter_map(|command| match command {
            Command::CreateContainer(spec) => spec.netns.clone(),
            _ => None,
        });
        paths.map(|path| (path.clone(), self.host.namespace_at(&path))).collect()
    }

    /// What this node is. An interface that somebody has made a moment ago, and its addresses, count at once for a network on
    /// its wire: its addresses are set aside when it is made.
    fn facts_for(&self, command: &Command) -> Result<NodeFacts, Error> {
        let mut facts = NodeFacts::clone(&self.facts.borrow());
        if !link_drivers(command).is_empty() {
            let now = self.host.node().map_err(|source| Error::Host { what: "the host's interfaces", source })?;
            facts.interfaces = now.interfaces;
            facts.addresses = now.addresses;
        }
        Ok(facts)
    }

    fn missing_drivers(&self, command: &Command) -> Result<BTreeSet<LinkDriver>, Error> {
        let mut missing = BTreeSet::new();
        for driver in link_drivers(command) {
            let found = self.host.has_driver(driver);
            if !found.map_err(|source| Error::Host { what: "the kernel's drivers", source })? {
                missing.insert(driver);
            }
        }
        Ok(missing)
    }

    /// A refusal, with what only the machine knows: which process has the port.
    fn complete(&self, refusal: Refusal) -> Error {
        Error::Refused(refusal.naming_process(&|inode| self.host.process_of(inode)))
    }

    fn write_files(&self, before: &State, after: &State) -> std::io::Result<()> {
        for (name, _, container) in differing(&before.containers, &after.containers) {
            match container {
                Some(container) => self.files.write(after, container)?,
                None => self.files.remove(name)?,
            }
        }
        Ok(())
    }

    /// Waits until the reconciler has worked on `revision`.
    async fn reached(&self, revision: u64, timeout: Duration) -> Result<Arc<Status>, Error> {
        let mut status = self.status.clone();
        let reached = status.wait_for(|status| status.observed_revision >= revision);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(status)) => Ok(status.clone()),
            Ok(Err(_closed)) => Err(Error::Stopping),
            Err(_elapsed) => Err(Error::TimedOut(timeout)),
        }
    }
}

/// Runs what blocks away from the runtime's workers.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is ending and did not begin it.
        Err(_) => Err(Error::Stopping),
    }
}

/// The drivers that the kernel may lack and that the command takes.
fn link_drivers(command: &Command) -> BTreeSet<LinkDriver> {
    let taken = command.each().filter_map(|command| match command {
        Command::CreateNetwork(spec) => Some(spec.link_drivers()),
        _ => None,
    });
    taken.flatten().collect()
}

/// What a command may have changed, as a user names it.
fn touched(command: &Command, changed: &Changed, facts: &NodeFacts) -> Vec<Object> {
    let container = |name: &String| Object::Container(name.clone());
    let network = |name: &String| Object::Network(name.clone());
    let publishes = |keys: Vec<PublishKey>| keys.into_iter().map(Object::Publish);
    match command {
        Command::InstallBuiltins => Vec::new(),
        Command::All(commands) => commands.iter().flat_map(|command| touched(command, changed, facts)).collect(),
        Command::CreateNetwork(spec) => vec![network(&spec.name)],
        Command::RemoveNetworks(names) => names.iter().map(network).collect(),
        Command::PruneNetworks(_) => {
            let gone = changed.before.networks.keys().filter(|name| !changed.after.networks.contains_key(*name));
            gone.map(network).collect()
        }
        Command::Connect { container: name, .. } | Command::Disconnect { container: name, .. } => vec![container(name)],
        Command::CreateContainer(spec) => {
            let own = changed.after.publishes.iter().filter(|(_, publish)| publish.container == spec.name);
            let keys = own.map(|(key, _)| *key).collect();
            [container(&spec.name)].into_iter().chain(publishes(keys)).collect()
        }
        Command::RemoveContainers(names) | Command::PruneContainers(names) => names.iter().map(container).collect(),
        Command::Publish { container: name, ports, allow: _ } => {
            [container(name)].into_iter().chain(publishes(published(name, ports, changed))).collect()
        }
        Command::Unpublish { .. } => {
            let gone = changed.before.publishes.keys().filter(|key| !changed.after.publishes.contains_key(key));
            publishes(gone.copied().collect()).collect()
        }
        Command::Block(_) | Command::Unblock(_) => {
            let uplinks = facts.uplinks.keys().cloned().map(Object::Uplink);
            [Object::BlockList].into_iter().chain(uplinks).collect()
        }
    }
}

/// The published ports that `ports` stands for after the change, those that netd picked included.
#[must_use]
pub fn published(container: &str, ports: &[PortMap], changed: &Changed) -> Vec<PublishKey> {
    let asked = |key: &PublishKey, container_port: u16| {
        ports.iter().any(|map| {
            let host_ip = map.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let place = container_port.checked_sub(map.container_port).filter(|place| *place < map.count);
            host_ip == key.host_ip
                && map.protocol == key.protocol
                && place.is_some_and(|place| match map.host_port {
                    Some(first) => first.checked_add(place) == Some(key.host_port),
                    None => !changed.before.publishes.contains_key(key),
                })
        })
    };
    let own = changed.after.publishes.iter().filter(|(_, publish)| publish.container == container);
    own.filter(|(key, publish)| asked(key, publish.container_port)).map(|(key, _)| *key).collect()
}

fn describe(object: &Object) -> String {
    match object {
        Object::Node => "this node".to_owned(),
        Object::BlockList => "the block list".to_owned(),
        Object::Uplink(name) => format!("uplink {name}"),
        Object::Network(name) => format!("network {name}"),
        Object::Container(name) => format!("container {name}"),
        Object::Publish(key) => format!("port {}", crate::events::publish_name(key)),
    }
}
