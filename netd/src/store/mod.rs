//! Where does the state live, and how does it change?

use crate::model::command::{Command, Context};
use crate::model::state::State;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// The state on disk (redb) and the snapshot of it in memory that everybody reads.
#[derive(Debug)]
pub struct Store {}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Refused(#[from] crate::model::command::Refusal),
    #[error("the store: {0}")]
    Storage(String),
}

impl Store {
    pub fn open(_path: &Path) -> Result<Self, WriteError> {
        todo!()
    }

    /// One transaction: applied, on disk, then visible. Nothing changed on error. A command that changes nothing keeps
    /// the revision.
    pub fn write(&self, _command: &Command, _context: &Context) -> Result<Arc<State>, WriteError> {
        todo!()
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        todo!()
    }
}
