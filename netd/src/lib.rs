//! netd: the network of containers on Linux, on eBPF alone.

pub mod api;
pub mod check;
pub mod cleanup;
pub mod config;
pub mod daemon;
pub mod events;
pub mod files;
pub mod instance;
pub mod kernel;
pub mod logging;
pub mod model;
pub mod notify;
pub mod reconcile;
pub mod store;
pub mod tuple;
