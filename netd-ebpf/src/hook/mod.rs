//! What is the story of a packet at each hook?
//!
//! One linear story a file. A step that two of them need lives outside this folder.

pub mod container_egress;
pub mod sock_addr;
pub mod uplink_egress;
pub mod uplink_ingress;
pub mod xdp_guard;
