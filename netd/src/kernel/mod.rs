//! What can be asked of a kernel, and what does it answer?
//!
//! The only door to netlink, namespaces and BPF. [`Kernel`] has two users: [`linux`] and [`fake`].

pub mod datapath;
pub mod facts;
pub mod fake;
pub mod flows;
pub mod linux;
pub mod netlink;
pub mod netns;
pub mod probe;
pub mod process;
pub mod sockets;

use crate::reconcile::observed::Observed;
use crate::reconcile::op::Op;
use facts::NodeFacts;

/// The reconciler's view of the machine. Not async: the reconciler has a thread of its own.
pub trait Kernel {
    /// What this node is: uplinks, addresses, routes.
    ///
    /// # Errors
    /// When netlink does not answer.
    fn facts(&mut self) -> Result<NodeFacts, Error>;

    /// What netd's objects in the kernel are now, in the vocabulary of `Target`.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn observe(&mut self) -> Result<Observed, Error>;

    /// Carries out one step. Doing it twice does no harm.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn apply(&mut self, op: &Op) -> Result<(), Error>;
}

/// Why the kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Error {
    /// The step, as one would say it: "create link nd1".
    pub what: String,
    #[source]
    pub source: std::io::Error,
}
