//! What can a user ask for, and what does netd remember of it?
//!
//! Pure data and rules: no I/O, no clock, not async. [`State::apply`](state::State::apply) is the only place where
//! intent changes, and it either does all of a [`command::Command`] or refuses it.

pub mod apply;
pub mod attach;
pub mod command;
pub mod exposed;
pub mod family;
pub mod filter;
pub mod ipam;
pub mod mac;
pub mod name;
pub mod naming;
pub mod node;
pub mod options;
pub mod parent;
pub mod port_map;
pub mod prefix;
pub mod refusal;
pub mod state;
#[cfg(test)]
pub mod testing;
mod text;
