//! What happens to a packet?
//!
//! Each hook is one story in [`hook`]; the mechanics that stories share stand beside it. All of it is generic over
//! [`frame::Frame`] (one packet), [`frame::Stack`] (what the host's stack knows) and [`tables::Tables`] (the maps), so
//! the same source runs in host tests on bytes in memory (`testing`) and in the kernel (`kernel`).
//!
//! ```text
//!   container eth0 ──veth──► container_egress            uplink_ingress ◄── the wire
//!                               │                              │
//!                 whose port is this? (spoof guard)      a flow's tuple? ─────► undo or redo the translation
//!                               │                              │
//!            dst MAC of a peer ─┴─ dst MAC of the gateway      published? ────► open a flow pair, DNAT
//!                    │                     │                   │
//!              FDB: switch          a flow's tuple? translate  the host's own ► pass
//!                    │              published?  open, DNAT     a container's ─► drop: NotPublished
//!                    │              the host's? pass
//!                    ▼              outside?    open, SNAT
//!              redirect_peer               │
//!                                          ▼
//!                                   redirect_peer / redirect_neigh
//! ```
//!
//! `uplink_egress` sees what the host itself sends and keeps it from aliasing a container's tuple; `sock_addr` turns the
//! host's own sockets to containers when they dial a published port, so those flows cost nothing per packet.
//!
//! While anybody is blocked, `xdp_guard` stands in front of `uplink_ingress` and drops what they send before it becomes a
//! packet.
//!
//! A hook's story returns [`verdict::Walk`]; every exit goes through [`verdict::finish`], which counts it once.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod across;
pub mod answer;
pub mod conntrack;
pub mod family;
pub mod fdb;
pub mod forward;
pub mod fragment;
pub mod frame;
pub mod held;
pub mod hook;
#[cfg(target_arch = "bpf")]
pub mod kernel;
pub mod nat;
pub mod ndp;
pub mod neighbour;
pub mod parse;
pub mod published;
pub mod related;
pub mod source;
pub mod tables;
#[cfg(all(not(target_arch = "bpf"), any(test, feature = "testing")))]
pub mod testing;
pub mod verdict;
