//! What do the programs in the kernel and the agent agree on?
//!
//! Every key and value of every map, the names of outcomes and drop reasons, the timeouts and the limits. `no_std`,
//! no dependencies; the feature `user` adds `aya::Pod`.
//!
//! Three rules hold for each type here, and [`layout`] asserts them at compile time:
//!
//! - **One byte order.** Addresses are 16 network-order bytes ([`Addr`], IPv4 as v4-mapped, RFC 4291 section 2.5.5.2);
//!   ports, counters, interface indexes and times are native integers, so that `bpftool map dump` prints
//!   `"port": 8080`.
//! - **No hidden padding.** Keys are compared as bytes, so each padding byte is a field, and is zero.
//! - **Integers, not enums.** Any bit pattern is a legal value; [`event::Kind`], [`drop::Outcome`] and friends convert
//!   with `from_u32`.
//!
//! A change of any layout here is a change of [`layout::ABI_VERSION`]: the agent keeps its pins in a folder of that
//! number, so that two versions never read each other's maps.
#![no_std]

pub mod addr;
pub mod drop;
pub mod endpoint;
pub mod event;
pub mod fdb;
pub mod flow;
pub mod fragment;
pub mod globals;
pub mod layout;
pub mod limits;
pub mod names;
pub mod publish;
pub mod sock;

pub use addr::Addr;
