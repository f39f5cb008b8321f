//! What does the API ask of the machine itself, past the reconciler?

use crate::kernel::fill::{self, Fills, MapFill};
use crate::kernel::flows::Reader;
use crate::kernel::netlink::Netlink;
use crate::kernel::traffic::{self, Traffic};
use crate::kernel::{flows, guard, netns, sockets};
use crate::model::command::{HostSocket, NamespaceAt};
use crate::model::node::{NodeFacts, XdpMode};
use crate::model::parent::LinkDriver;
use netd_common::drop::{Counter, DropReason, Hook, Outcome};
use netd_common::flow::{Flow, FlowKey};
use netd_common::limits::SNAT_TRIES_BUCKETS;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blocking questions, asked away from the runtime's workers. [`Linux`] answers for this machine; tests have their own.
pub trait Host: std::fmt::Debug + Send + Sync + 'static {
    /// 32 bytes that nobody can guess.
    ///
    /// # Errors
    /// When there is no source of randomness.
    fn entropy(&self) -> io::Result<[u8; 32]>;

    /// What the host's own sockets are bound to.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn bound_sockets(&self) -> io::Result<BTreeSet<HostSocket>>;

    /// The process that holds a socket, as `name (pid N)`.
    fn process_of(&self, inode: u32) -> Option<String>;

    /// Whether anything stands under this name in the folder of namespaces.
    fn has_namespace(&self, name: &str) -> bool;

    fn namespace_at(&self, path: &Path) -> NamespaceAt;

    /// What this node is now, but for its uplinks.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn node(&self) -> io::Result<NodeFacts>;

    /// Whether the kernel has a driver.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn has_driver(&self, driver: LinkDriver) -> io::Result<bool>;

    /// Calls `each` for every flow, with its opener's entry, until it breaks off.
    ///
    /// # Errors
    /// When the table is not readable.
    fn flows(&self, each: &mut dyn FnMut(&FlowKey, &Flow) -> ControlFlow<()>) -> io::Result<()>;

    /// Forgets the flows of these endpoints, or all; how many that were.
    ///
    /// # Errors
    /// When the table cannot be read or changed.
    fn flush(&self, endpoints: Option<&BTreeSet<u32>>) -> io::Result<u64>;

    /// The clock of the flow table, in nanoseconds.
    fn monotonic_ns(&self) -> u64;

    /// Every counter that is not zero.
    ///
    /// # Errors
    /// When the counters are not readable.
    fn counters(&self) -> io::Result<Vec<(Hook, Outcome, Counter)>>;

    /// What the packets of these endpoints were dropped for.
    ///
    /// # Errors
    /// When the counters are not readable.
    fn drops(&self, endpoints: &BTreeSet<u32>) -> io::Result<Vec<(DropReason, Counter)>>;

    /// How many flows found their source port after how many tries.
    ///
    /// # Errors
    /// When the counters are not readable.
    fn tries(&self) -> io::Result<[u64; SNAT_TRIES_BUCKETS]>;

    /// What an interface in the namespace at `path` has received and sent.
    ///
    /// # Errors
    /// When the namespace or the interface is not there.
    fn traffic(&self, path: &Path, interface: &str) -> io::Result<Traffic>;

    /// In which mode the guard runs, by the name of the uplink; those without it are not in it.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn guarded(&self) -> io::Result<BTreeMap<String, XdpMode>>;

    /// How full each map is.
    ///
    /// # Errors
    /// When the maps are not readable.
    fn fill(&self) -> io::Result<Vec<MapFill>>;
}

/// This machine.
#[derive(Clone, Debug)]
pub struct Linux {
    /// Where the maps are pinned. They are opened at each question, since the reconciler may make them anew.
    pub pins: PathBuf,
    pub netns_dir: PathBuf,
    /// How full the maps were lately.
    pub fills: Arc<Fills>,
}

impl Host for Linux {
    fn entropy(&self) -> io::Result<[u8; 32]> {
        let mut bytes = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn bound_sockets(&self) -> io::Result<BTreeSet<HostSocket>> {
        sockets::bound()
    }

    fn process_of(&self, inode: u32) -> Option<String> {
        sockets::process_of(inode)
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.netns_dir.join(name).symlink_metadata().is_ok()
    }

    fn namespace_at(&self, path: &Path) -> NamespaceAt {
        netns::namespace_at(path)
    }

    fn node(&self) -> io::Result<NodeFacts> {
        let netlink = Netlink::open()?;
        Ok(netlink.facts(&netlink.devices()?, &[])?.facts)
    }

    fn has_driver(&self, driver: LinkDriver) -> io::Result<bool> {
        Netlink::has_driver(driver)
    }

    fn flows(&self, each: &mut dyn FnMut(&FlowKey, &Flow) -> ControlFlow<()>) -> io::Result<()> {
        Reader::open(&self.pins)?.connections(each)
    }

    fn flush(&self, endpoints: Option<&BTreeSet<u32>>) -> io::Result<u64> {
        let flushed = Reader::open(&self.pins)?.flush(endpoints)?;
        self.fills.forget(fill::FLOWS);
        Ok(flushed)
    }

    fn monotonic_ns(&self) -> u64 {
        flows::monotonic_ns()
    }

    fn counters(&self) -> io::Result<Vec<(Hook, Outcome, Counter)>> {
        Reader::open(&self.pins)?.counters()
    }

    fn drops(&self, endpoints: &BTreeSet<u32>) -> io::Result<Vec<(DropReason, Counter)>> {
        Reader::open(&self.pins)?.drops(endpoints)
    }

    fn tries(&self) -> io::Result<[u64; SNAT_TRIES_BUCKETS]> {
        Reader::open(&self.pins)?.tries()
    }

    fn traffic(&self, path: &Path, interface: &str) -> io::Result<Traffic> {
        traffic::of(path, interface)
    }

    fn guarded(&self) -> io::Result<BTreeMap<String, XdpMode>> {
        guard::modes(&self.pins)
    }

    fn fill(&self) -> io::Result<Vec<MapFill>> {
        self.fills.look(&self.pins)
    }
}
