//! What can be asked of a kernel, and what does it answer?
//!
//! The only door to netlink, namespaces and BPF. [`Kernel`] has two users: [`linux`] and [`fake`].

pub mod attachments;
pub mod backends;
pub mod batch;
pub mod bpf;
pub mod datapath;
pub mod facts;
pub mod fake;
pub mod fill;
pub mod flows;
pub mod forget;
pub mod garbage;
pub mod guard;
pub mod guests;
pub mod linux;
pub mod memory;
pub mod mounts;
pub mod names;
pub mod netlink;
pub mod netns;
pub mod object;
pub mod pins;
pub mod probe;
pub mod process;
pub mod programs;
pub mod purge;
pub mod sockets;
pub mod traffic;
pub mod tries;

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

    /// What netd's objects in the kernel are now, in the vocabulary of `Target`. Of the host's interfaces it may tell what
    /// [`Self::facts`] has just seen of them: ask for those first.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn observe(&mut self) -> Result<Observed, Error>;

    /// Carries out one step. Doing it twice does no harm.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn apply(&mut self, op: &Op) -> Result<(), Error>;

    /// Whether steps were carried out in a way that did not keep anybody waiting, and are to be finished by
    /// [`Self::settle`].
    fn is_unsettled(&self) -> bool;

    /// Finishes one of them, which takes some milliseconds.
    ///
    /// # Errors
    /// When the kernel refuses. What the step did stays in force.
    fn settle(&mut self) -> Result<(), Error>;
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

impl Error {
    /// Says of a missing right what to do about it; the other errors of the system speak for themselves.
    #[must_use]
    pub fn new(what: impl Into<String>, source: std::io::Error) -> Self {
        let source = match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => std::io::Error::new(
                std::io::ErrorKind::PermissionDenied,
                "not permitted; netd needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF)",
            ),
            Some(libc::EMFILE | libc::ENFILE) => {
                std::io::Error::other(format!("{source}; raise the limit of open files (LimitNOFILE)"))
            }
            Some(_) | None => source,
        };
        Self { what: what.into(), source }
    }

    /// For `map_err`.
    pub(crate) fn of(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::new(what, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_says_what_to_do() {
        let told = |errno| Error::new("create link nd1", std::io::Error::from_raw_os_error(errno)).to_string();
        assert!(
            told(libc::EPERM).starts_with("create link nd1: not permitted; netd needs root"),
            "{}",
            told(libc::EPERM)
        );
        assert!(told(libc::EMFILE).ends_with("(LimitNOFILE)"), "{}", told(libc::EMFILE));
        assert_eq!(told(libc::ENODEV), "create link nd1: No such device (os error 19)");
    }
}
