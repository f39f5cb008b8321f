//! How do the programs speak to the kernel?
//!
//! The only users of `aya_ebpf`, besides the entry points.

mod forward;
pub mod maps;
pub mod skb;
pub mod sock;
pub mod xdp;
