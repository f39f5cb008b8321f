//! How does Linux carry out a plan: which step is netlink's, which is the datapath's?

use super::{Error, Kernel};
use crate::kernel::facts::NodeFacts;
use crate::reconcile::observed::Observed;
use crate::reconcile::op::Op;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Options {
    pub datapath: super::datapath::Options,
    /// Folder of namespaces, `/run/netns`.
    pub netns_dir: PathBuf,
    /// Names of the uplinks; empty: the interfaces of the default routes.
    pub uplinks: Vec<String>,
}

#[derive(Debug)]
pub struct Linux {}

impl Linux {
    /// `changed` is told whenever netlink says that something which netd cares about has changed, in the host's
    /// namespace or in a container's.
    pub fn open(_options: Options, _changed: tokio::sync::mpsc::Sender<()>) -> Result<Self, Error> {
        todo!()
    }
}

impl Kernel for Linux {
    fn facts(&mut self) -> Result<NodeFacts, Error> {
        todo!()
    }

    fn observe(&mut self) -> Result<Observed, Error> {
        todo!()
    }

    fn apply(&mut self, _op: &Op) -> Result<(), Error> {
        todo!()
    }
}
