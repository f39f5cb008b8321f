//! What can be asked of a running netd, over HTTP on its unix socket?
//!
//! JSON in, JSON out; one file per resource; `docs/api.md` lists them. A change returns when the datapath has it.
//! Limits: a body has at most [`BODY_SIZE_MAX`] bytes ([`BLOCKS_SIZE_MAX`] for the block list), a server at most [`CONNECTIONS_MAX`] connections (past it callers
//! wait to be accepted) and [`STREAMS_MAX`] answers that stream (past it they are refused); lists that may be long
//! are streamed, never collected, and a caller who takes nothing of one for ten minutes is let go.

pub mod blocks;
pub mod change;
pub mod changes;
pub mod client;
pub mod containers;
pub mod elements;
pub mod error;
pub mod events;
pub mod extract;
pub mod flows;
pub mod host;
pub mod networks;
pub mod publishes;
pub mod records;
pub mod server;
pub mod stats;
pub mod status;
pub mod version;
pub mod view;

use crate::events::Bus;
use crate::files::Files;
use crate::kernel::facts::NodeFacts;
use crate::model::state::State;
use crate::names::Counts;
use crate::reconcile::status::Status;
use crate::shortage::Shortage;
use crate::store::Store;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use host::Host;
use ipnetwork::IpNetwork;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, watch};

/// Bytes of a request's body; a longer one is refused.
pub const BODY_SIZE_MAX: usize = 1024 * 1024;
/// The same, for the block list: as many prefixes as it takes, at their longest.
pub const BLOCKS_SIZE_MAX: usize = 64 * 1024 * 1024;
/// Connections, and so requests, at one time; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 256;
/// Answers that stream (flows, events) at one time; further ones are refused.
pub const STREAMS_MAX: usize = 64;

/// What every request is answered from.
#[derive(Debug)]
pub struct Api<H> {
    pub instance: String,
    pub store: Arc<Store>,
    /// The store's snapshot.
    pub state: watch::Receiver<Arc<State>>,
    /// How far the reconciler is.
    pub status: watch::Receiver<Arc<Status>>,
    pub facts: watch::Receiver<Arc<NodeFacts>>,
    /// What there is too little of.
    pub shortages: watch::Receiver<Arc<Vec<Shortage>>>,
    pub events: Arc<Bus>,
    /// What became of the questions for names.
    pub names: Arc<Counts>,
    pub host: H,
    /// Where the containers' `resolv.conf`, `hosts` and `hostname` are.
    pub files: Files,
    /// Where automatic IPv4 subnets come from.
    pub subnet_pools: Vec<IpNetwork>,
    /// Folder of the namespaces that netd makes.
    pub netns_dir: PathBuf,
    /// Held while the state is read, changed and read again, so that the difference is one change's own.
    pub changing: Mutex<()>,
    /// [`STREAMS_MAX`] permits.
    pub streams: Arc<Semaphore>,
    /// Becomes true when netd ends, and every answer that streams with it.
    pub stop: watch::Receiver<bool>,
}

/// All resources of one instance.
pub fn router<H: Host>(api: Arc<Api<H>>) -> Router {
    Router::new()
        .merge(containers::routes())
        .merge(networks::routes())
        .merge(publishes::routes())
        .merge(blocks::routes())
        .merge(changes::routes())
        .merge(flows::routes())
        .merge(stats::routes())
        .merge(events::routes())
        .merge(status::routes())
        .merge(version::routes())
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_SIZE_MAX))
        .with_state(api)
}

#[cfg(test)]
mod tests;
