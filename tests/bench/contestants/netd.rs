//! How is netd set up?

use super::NETD;
use crate::contestant::{Contestant, Path, Route, Service};
use anyhow::Result;
use netd_tests::world::{Container, HOST, OUTSIDE, World};
use std::net::Ipv4Addr;

/// A world whose netd runs as it does by default, and not as tests have it: with its log, and flow table, as large as that
/// of a machine that sets nothing.
pub fn world() -> World {
    let mut world = World::without_netd();
    world.log_level = "info";
    world.flows_max = netd::config::flows_by_memory(crate::machine::memory());
    world.start();
    world
}

/// The options that publish all that a server serves.
pub fn published() -> Vec<String> {
    Service::ALL.iter().flat_map(|service| ["-p".to_owned(), service.publish()]).collect()
}

pub fn contestant() -> Result<Contestant> {
    let world = world();
    let web = world.container("web", published());
    let client = world.plain("client");
    let setup = vec![
        "ip_forward=0, rp_filter=1; no bridge, no rule of netfilter".to_owned(),
        format!(
            "netd run, with its defaults: a flow table of {} entries, log level {}",
            world.flows_max, world.log_level
        ),
        format!("netctl container create web {}; netctl container create client", published().join(" ")),
    ];
    let routes = routes(&world, &web, &client);
    Contestant::new(NETD, setup, routes, world)
}

pub fn routes(world: &World, web: &Container, client: &Container) -> Vec<Route> {
    vec![
        Route::new(Path::SameHost, &client.place, &web.place, web.ip),
        Route::new(Path::Published, &world.outside, &web.place, HOST),
        Route::new(Path::Outbound, &client.place, &world.outside, OUTSIDE),
        Route::new(Path::Loopback, &world.host, &web.place, Ipv4Addr::LOCALHOST),
        Route::new(Path::Direct, &world.host, &web.place, web.ip),
    ]
}
