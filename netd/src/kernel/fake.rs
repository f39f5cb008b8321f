//! What would a kernel do, without one?
//!
//! Holds what the steps put in, in the vocabulary of `Target`, and fails where it is told to. It knows the few rules of
//! Linux that the order of steps rests on: a link needs its namespace and dies with it, and what stands on a link, or
//! names it in a map, needs the link; what is on the wire of an interface needs that.
//!
//! Not modelled: flows and what purging them does; packets; link state; everything that is not netd's; names that are
//! taken; map limits; the notes that tell netd's namespaces from others'; routes that vanish with their source address.

use super::{Error, Kernel};
use crate::kernel::facts::NodeFacts;
use crate::reconcile::observed::Observed;
use crate::reconcile::op::Op;
use crate::reconcile::target::{Attachment, Route};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default)]
pub struct Fake {
    pub facts: NodeFacts,
    pub content: Observed,
    /// Namespaces that somebody else made.
    pub their_namespaces: BTreeSet<PathBuf>,
    pub faults: Faults,
    /// What was carried out, in order.
    pub done: Vec<Op>,
    /// How often the content was read.
    pub looks: usize,
    /// Steps that are to be finished, and how often that was tried.
    pub unsettled: usize,
    pub settles: usize,
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Steps that succeed from now on; after them every one fails. None: all succeed.
    pub steps_left: Option<usize>,
    /// What a step that fails for want of `steps_left` leaves behind.
    pub leaves: Leaves,
    /// Steps of this kind fail, and leave nothing.
    pub matching: Option<fn(&Op) -> bool>,
    /// The content cannot be read.
    pub is_blind: bool,
    /// Nothing can be settled.
    pub is_restless: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaves {
    #[default]
    Nothing,
    /// The whole effect: only the answer was lost.
    All,
}

impl Fake {
    fn has_namespace(&self, path: &Path) -> bool {
        self.content.0.namespaces.contains_key(path) || self.their_namespaces.contains(path)
    }

    /// Whether Linux would take this step now.
    fn permits(&self, op: &Op) -> bool {
        let has_link = |name: &str| self.content.0.links.contains_key(name);
        let has_interface = |name: &str| self.facts.uplinks.contains_key(name);
        match op {
            Op::CreateNamespace(path, _) => !self.their_namespaces.contains(path),
            Op::SetVlan(_, vlan) => self.facts.interfaces.contains_key(&vlan.of),
            Op::CreateLink(_, link) => {
                let has_parent = |parent: &String| {
                    self.facts.interfaces.contains_key(parent) || self.content.0.vlans.contains_key(parent)
                };
                self.has_namespace(&link.namespace) && link.kind.parent().is_none_or(has_parent)
            }
            Op::ConfigureLink(name, link) => has_link(name) && self.has_namespace(&link.namespace),
            Op::SetRoute(_, Route::Endpoint { link, source, .. }) => {
                has_link(link) && self.content.0.gateways.contains(source)
            }
            Op::OpenNames(path) => self.has_namespace(path),
            Op::Attach(Attachment::ContainerEgress(link)) | Op::SetPort(link, _) => has_link(link),
            Op::SetFdb(_, _, entry) => has_link(&entry.link),
            Op::SetEndpoint(_, entry) => has_link(&entry.link),
            Op::Attach(
                Attachment::UplinkIngress(name) | Attachment::UplinkEgress(name) | Attachment::XdpGuard(name),
            )
            | Op::SetUplink(name, _) => has_interface(name),
            Op::RemovePublish(_)
            | Op::RemoveEndpoint(_)
            | Op::RemovePort(_)
            | Op::RemoveFdb(..)
            | Op::RemoveLocalAddress(_)
            | Op::RemoveUplink(_)
            | Op::CloseNames(_)
            | Op::PurgeFlows(_)
            | Op::PurgeSources(_)
            | Op::Detach(_)
            | Op::DeleteRoute(_)
            | Op::DeleteGateway(_)
            | Op::DeleteLink(_)
            | Op::DeleteVlan(_)
            | Op::DeleteNamespace(_)
            | Op::AddGateway(_)
            | Op::SetRoute(_, Route::Unreachable)
            | Op::Attach(Attachment::SockAddr(_))
            | Op::SetLocalAddress(_)
            | Op::Allow(..)
            | Op::SetPublish(..)
            | Op::SetTimeouts(..)
            | Op::RemoveTimeouts(_)
            | Op::SetPooled(..)
            | Op::RemovePooled(_)
            | Op::Block(_)
            | Op::Disallow(..)
            | Op::Unblock(_)
            | Op::Renew(_) => true,
        }
    }
}

impl Kernel for Fake {
    fn facts(&mut self) -> Result<NodeFacts, Error> {
        Ok(self.facts.clone())
    }

    fn observe(&mut self) -> Result<Observed, Error> {
        self.looks += 1;
        if self.faults.is_blind {
            return Err(error("look", io::ErrorKind::TimedOut));
        }
        Ok(self.content.clone())
    }

    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        if !self.permits(op) {
            return Err(error(&format!("{op:?}"), io::ErrorKind::NotFound));
        }
        if self.faults.matching.is_some_and(|matches| matches(op)) {
            return Err(error(&format!("{op:?}"), io::ErrorKind::Other));
        }
        if let Some(left) = &mut self.faults.steps_left {
            let Some(less) = left.checked_sub(1) else {
                match self.faults.leaves {
                    Leaves::Nothing => {}
                    Leaves::All => self.content.apply(op),
                }
                return Err(error(&format!("{op:?}"), io::ErrorKind::Interrupted));
            };
            *left = less;
        }
        self.content.apply(op);
        self.done.push(op.clone());
        if matches!(op, Op::Attach(Attachment::ContainerEgress(_))) {
            self.unsettled += 1;
        }
        Ok(())
    }

    fn is_unsettled(&self) -> bool {
        self.unsettled > 0
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.settles += 1;
        if self.faults.is_restless {
            return Err(error("settle", io::ErrorKind::Other));
        }
        self.unsettled -= 1;
        Ok(())
    }
}

fn error(what: &str, kind: io::ErrorKind) -> Error {
    Error { what: what.to_owned(), source: kind.into() }
}
