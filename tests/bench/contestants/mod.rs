//! Which contestants are there, and how is each of them built?

mod bridge;
mod cni;
mod docker;
mod host;
mod netd;
mod shell;

pub use bridge::{Bridge, Rules};
pub use cni::Cni;
pub use docker::Docker;
pub use netd::{published as netd_published, routes as netd_routes, world as netd_world};

use crate::contestant::Contestant;
use anyhow::Result;

pub const LOOPBACK: &str = "loopback";
pub const HOST: &str = "host namespace";
pub const VETH: &str = "veth";
pub const IPTABLES: &str = "bridge + iptables";
pub const NFTABLES: &str = "bridge + nftables";
pub const CNI: &str = "CNI bridge + portmap";
pub const DOCKER: &str = "Docker";
pub const DOCKER_WITHOUT_PROXY: &str = "Docker without proxy";
pub const NETD: &str = "netd";

/// All of them, in the order of a round.
pub const ALL: [&str; 9] = [LOOPBACK, HOST, VETH, IPTABLES, NFTABLES, CNI, DOCKER, DOCKER_WITHOUT_PROXY, NETD];

/// Builds the contestant of this name.
///
/// # Errors
/// Why it is absent.
pub fn build(key: &str) -> Result<Contestant> {
    match key {
        LOOPBACK => host::loopback(),
        HOST => host::host(),
        VETH => host::veth(),
        IPTABLES => Bridge::new(Rules::Iptables)?.contestant(),
        NFTABLES => Bridge::new(Rules::Nftables)?.contestant(),
        CNI => Cni::new()?.contestant(),
        DOCKER => Docker::new(true)?.contestant(),
        DOCKER_WITHOUT_PROXY => Docker::new(false)?.contestant(),
        NETD => netd::contestant(),
        _ => anyhow::bail!("there is no contestant named \"{key}\"; there are: {}", ALL.join(", ")),
    }
}
