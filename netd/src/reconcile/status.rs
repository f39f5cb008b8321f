//! How is each object doing?

use crate::model::state::PublishKey;
use std::collections::BTreeMap;

/// An object as a user names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// What belongs to no container: uplinks, programs on the cgroup, gateways.
    Node,
    Network(String),
    Container(String),
    Publish(PublishKey),
}

/// What the reconciler publishes after each pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The revision that the last pass worked on. Objects of it that are not in `failing` are ready.
    pub observed_revision: u64,
    /// What went wrong, by object; an object that is ready is not here.
    pub failing: BTreeMap<Object, String>,
}
