//! How are the programs tested, without a kernel and in one?
//!
//! [`model`] stands in for the maps and the stack, [`packet`] builds frames and [`checksum`] judges them, [`world`] is the one host that all rows play
//! on. A [`case::Case`] is a row: what the maps hold, frames in, verdicts and frames out, flows afterwards; [`cases`] are
//! all of them. The tests of this crate play them on the model; `tests/datapath.rs` plays the same rows in the kernel beside
//! it and compares. [`scene`] makes traffic that nobody thought of, for both.

pub mod bytes;
pub mod case;
pub mod cases;
pub mod checksum;
pub mod choices;
pub mod guard;
pub mod hosts;
pub mod model;
pub mod packet;
pub mod random;
pub mod scene;
pub mod told;
pub mod world;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
