//! What do programs reach without any container's network: loopback, the host's own uplink, a bare veth pair?

use super::shell::sh;
use super::{HOST, LOOPBACK, VETH};
use crate::contestant::{Contestant, Path, Route};
use crate::regime::MTU;
use anyhow::Result;
use netd_tests::world::{self, Place, World};
use std::net::Ipv4Addr;

/// Client and server over `lo`.
pub fn loopback() -> Result<Contestant> {
    let place = Place::new("loopback", None);
    let script = format!("ip link set lo mtu {MTU}");
    sh(&place, &script)?;
    let setup = vec![format!("one namespace; {script}; client and server at 127.0.0.1")];
    Contestant::new(LOOPBACK, setup, vec![Route::new(Path::SameHost, &place, &place, Ipv4Addr::LOCALHOST)], ())
}

/// The ends of every other contestant's uplink, with nothing between: the server is in the host's own namespace.
pub fn host() -> Result<Contestant> {
    let world = World::without_netd();
    let routes = vec![
        Route::new(Path::Published, &world.outside, &world.host, world::HOST).unpublished(),
        Route::new(Path::Outbound, &world.host, &world.outside, world::OUTSIDE),
    ];
    let setup = vec![
        "the host's namespace and the outside's, joined by the veth pair that is every contestant's uplink".to_owned(),
        "no container: the server, or the client, is a program of the host".to_owned(),
    ];
    Contestant::new(HOST, setup, routes, world)
}

/// Two namespaces, joined by a veth pair that nothing is attached to.
pub fn veth() -> Result<Contestant> {
    let (web, client) = (Place::new("web", None), Place::new("client", None));
    let script = format!(
        "ip link add eth0 mtu {MTU} type veth peer name eth0 mtu {MTU} netns {}; ip addr add 172.31.0.2/24 dev eth0; \
         ip link set eth0 up",
        web.path()
    );
    sh(&client, &script)?;
    sh(&web, "ip addr add 172.31.0.3/24 dev eth0; ip link set eth0 up")?;
    let setup = vec![
        "two namespaces, joined by one veth pair that nothing is attached to: one hop less than any switch has"
            .to_owned(),
    ];
    let route = Route::new(Path::SameHost, &client, &web, Ipv4Addr::new(172, 31, 0, 3));
    Contestant::new(VETH, setup, vec![route], ())
}
