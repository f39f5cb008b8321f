//! netd: the network of containers on Linux, on eBPF alone.

pub mod api;
pub mod config;
pub mod daemon;
pub mod events;
pub mod kernel;
pub mod model;
pub mod reconcile;
pub mod store;
