//! When is the kernel looked at and changed?

use super::status::Status;
use crate::kernel::Kernel;
use crate::kernel::facts::NodeFacts;
use crate::model::state::State;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// All that the loop listens to and tells.
#[derive(Debug)]
pub struct Wiring {
    pub state: watch::Receiver<Arc<State>>,
    /// Netlink saw a change.
    pub changed: mpsc::Receiver<()>,
    pub status: watch::Sender<Arc<Status>>,
    pub facts: watch::Sender<Arc<NodeFacts>>,
    /// Becomes true when the loop should end.
    pub stop: watch::Receiver<bool>,
    /// Folder of namespaces, `/run/netns`.
    pub netns_dir: std::path::PathBuf,
}

/// Keeps the kernel in step until told to stop. Blocks: give it a thread of its own.
pub fn run<K: Kernel>(_kernel: K, _wiring: Wiring) {
    todo!()
}
