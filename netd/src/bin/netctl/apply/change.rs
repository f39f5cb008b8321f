//! How is one difference shown, and which steps does it take?

use netd::api::changes::OneChange;
use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Change,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Network,
    Container,
    Publish,
}

/// One line of the difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub action: Action,
    pub kind: Kind,
    /// Of a published port the container and the port.
    pub name: String,
    pub detail: String,
    #[serde(skip)]
    pub steps: Vec<(Phase, OneChange)>,
}

/// When a step has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Unpublish,
    Disconnect,
    RemoveContainer,
    RemoveNetwork,
    CreateNetwork,
    /// Without a subnet of its choice.
    CreateAutomatic,
    /// With an address of its choice.
    JoinChosen,
    Join,
    /// In the namespace of another.
    Share,
    Publish,
    PublishPicked,
}

/// What is to be done, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub changes: Vec<Change>,
    /// What the file does not have any more, and stays without `--prune`.
    pub left: Vec<(Kind, String)>,
}

impl Difference {
    /// The steps in the order in which netd can take them.
    pub fn steps(&self) -> Vec<OneChange> {
        let mut steps: Vec<_> = self.changes.iter().flat_map(|change| change.steps.iter()).collect();
        steps.sort_by_key(|(phase, _)| *phase);
        steps.into_iter().map(|(_, step)| step.clone()).collect()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Remove => '-',
        };
        write!(f, "{sign} {} {}", self.kind, self.name)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Container => "container",
            Self::Publish => "publish",
        })
    }
}

impl Change {
    pub fn new(action: Action, kind: Kind, name: &str, detail: String, steps: Vec<(Phase, OneChange)>) -> Self {
        Self { action, kind, name: name.to_owned(), detail, steps }
    }
}
