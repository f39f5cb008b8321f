//! What does the kernel say of this node?

pub use crate::model::node::{NodeFacts, Uplink};
