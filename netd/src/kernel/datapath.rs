//! How do the programs and their maps get into the kernel, and what do the maps hold?

use crate::reconcile::op::Op;
use crate::reconcile::target::Target;
use std::io;
use std::path::PathBuf;

/// Where and how large.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bpffs mount, `/sys/fs/bpf`.
    pub bpffs: PathBuf,
    pub instance: String,
    /// The cgroup2 folder that `sock_addr` is attached to.
    pub cgroup: PathBuf,
    /// Entries of `FLOWS`.
    pub flows_max: u32,
}

impl Options {
    /// The folder of the pins: `<bpffs>/netd/<instance>/v<ABI_VERSION>`.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.bpffs.join("netd").join(&self.instance).join(format!("v{}", netd_common::layout::ABI_VERSION))
    }
}

/// The loaded programs and the pinned maps of one instance.
#[derive(Debug)]
pub struct Datapath {}

impl Datapath {
    /// Loads the programs, creates or reuses the pinned maps.
    pub fn open(_options: &Options) -> io::Result<Self> {
        todo!()
    }

    /// Fills in the map entries, attachments and uplinks of `target`, all that is not netlink's.
    /// `name_of` gives the name of an interface index of the host's namespace.
    pub fn observe(&mut self, _target: &mut Target, _name_of: &dyn Fn(u32) -> Option<String>) -> io::Result<()> {
        todo!()
    }

    /// Carries out the steps that are about maps and programs (all Set*/Remove* of entries, Attach, Detach, PurgeFlows).
    /// `index_of` gives the index of an interface of the host's namespace.
    pub fn apply(&mut self, _op: &Op, _index_of: &dyn Fn(&str) -> Option<u32>) -> io::Result<()> {
        todo!()
    }
}

/// Detaches all programs and removes every pin of the instance, of whatever ABI version. Traffic ends.
pub fn cleanup(_options: &Options) -> io::Result<()> {
    todo!()
}

/// Mounts bpffs at `path` when nothing is mounted there.
pub fn mount_bpffs(_path: &std::path::Path) -> io::Result<()> {
    todo!()
}

/// The cgroup2 mount of this machine, from `/proc/self/mountinfo`: on hybrid hosts it is not `/sys/fs/cgroup`.
pub fn cgroup2_mount() -> io::Result<PathBuf> {
    todo!()
}
