//! What does it cost to have many publishes and many containers?
//!
//! Beside the netd that grows stands a small one, measured in turn with it, so that what the machine does meanwhile is in
//! both.

use crate::contestant::{Path, Route, Service, serve};
use crate::contestants::{Bridge, IPTABLES, NETD, Rules, netd_published, netd_routes, netd_world};
use crate::control::{self, CREATE, MEMORY, milliseconds, netctl, percentiles, resident};
use crate::regime::{self, Regime};
use crate::series::{Key, Metric, quantile};
use crate::session::{Session, caught};
use crate::works::{Work, load};
use anyhow::{Context as _, Result, bail};
use netd_tests::world::{Container, HOST, Process, World};
use netd_tests::{holds_within, seconds};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub const SMALL: &str = "netd with 2 containers";
pub const PUBLISHES: &str = "scale: publishes";
pub const CONTAINERS: &str = "scale: containers";
/// The most of both.
pub const BOTH: &str = "scale: both";
pub const LARGEST: u64 = 1_000;

pub const RESTART: &str = "agent restart";
pub const GROWN: &str = "grown";
pub const ALL_TIME: Metric = Metric::less("all of them", "s");
/// The last tenth by the first.
pub const FLATNESS: Metric = Metric::less("last by first", "×");
pub const READY: Metric = Metric::less("ready", "s");
pub const LOST: Metric = Metric::less("lost", "packets");
pub const SENT: Metric = Metric::more("sent", "packets");

const NETWORK: &str = "wide";
const PORTS_FROM: u64 = 20_000;
/// Packets a second while the agent restarts, and for how long.
const RESTART_RATE: &str = "10000";
const RESTART_MS: &str = "6000";

/// The paths and works that are looked at.
const LOOKED_AT: [(Path, Work); 4] = [
    (Path::SameHost, Work::Requests),
    (Path::SameHost, Work::Connections),
    (Path::Published, Work::Requests),
    (Path::Published, Work::Connections),
];

pub fn key(dimension: &str, contestant: &str, path: Path, work: Work, size: u64) -> Key {
    Key {
        part: dimension.to_owned(),
        regime: Regime::Stable.name().to_owned(),
        contestant: contestant.to_owned(),
        path: path.name().to_owned(),
        work: work.name().to_owned(),
        metric: String::new(),
        size,
    }
}

/// Whoever can be made to grow.
pub fn scale(session: &mut Session, keys: &[&str]) -> Result<()> {
    raise_file_limit();
    for (name, measure) in [(NETD, netd as fn(&mut Session) -> Result<()>), (IPTABLES, bridge)] {
        if !keys.contains(&name) {
            continue;
        }
        session.next("scale", name)?;
        if let Err(error) = caught(|| measure(session)) {
            session.next("scale", name)?;
            session.remark(format!("scale of {name}: {error:#}"));
        }
    }
    Ok(())
}

/// Each container of the bridge is held by a descriptor.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Measures everybody in turn at one size.
fn look(session: &mut Session, dimension: &str, size: u64, everybody: &[(&str, &[Route])]) -> Result<()> {
    let extent = session.extent.clone();
    session.expect(extent.scale_rounds as usize * everybody.len() * LOOKED_AT.len());
    // Not while containers are made: their making would wait for the spinners.
    let _spinners = Regime::Stable.enter()?;
    for round in 1..=extent.scale_rounds {
        for (path, work) in LOOKED_AT {
            for (name, routes) in everybody {
                session.next(dimension, &format!("{size}, {name}, {}, {}", path.name(), work.name()))?;
                let route = routes.iter().find(|route| route.path == path).context("a route")?;
                let figures = caught(|| work.measure(route, &extent));
                session.take(&key(dimension, name, path, work, size), round, figures);
            }
        }
    }
    Ok(())
}

/// A netd with two containers and what is served in one of them.
struct Pair {
    _servers: [Process; 2],
    routes: Vec<Route>,
    world: World,
}

impl Pair {
    fn new() -> Result<Self> {
        let world = netd_world();
        // An automatic subnet has room for 253.
        world.network(NETWORK, "10.100.0.0/16");
        let on = ["--network".to_owned(), NETWORK.to_owned()];
        let web: Container = world.container("web", netd_published().into_iter().chain(on.clone()));
        let client = world.container("client", on);
        let routes = netd_routes(&world, &web, &client);
        for route in &routes {
            regime::prepare(&route.client);
            regime::prepare(&route.server);
        }
        Ok(Self { _servers: serve(&web.place)?, routes, world })
    }

    /// Publishes further ports of `client`, which serves nothing there, until there are so many.
    fn publish(&self, from: u64, to: u64) -> Result<()> {
        if from < to {
            let (first, last) = (PORTS_FROM + from, PORTS_FROM + to - 1);
            netctl(&self.world, &["publish", "client", &format!("{first}-{last}:{first}-{last}")])?;
        }
        Ok(())
    }
}

fn netd(session: &mut Session) -> Result<()> {
    let extent = session.extent.clone();
    let (small, big) = (Pair::new()?, Pair::new()?);
    let everybody: [(&str, &[Route]); 2] = [(SMALL, &small.routes), (NETD, &big.routes)];
    let mut published = 0;
    for &publishes in &extent.publishes {
        big.publish(published, publishes)?;
        published = publishes;
        look(session, PUBLISHES, publishes, &everybody)?;
    }
    netctl(&big.world, &["unpublish", "client", "--all"])?;
    let (mut created, mut times) = (2, Vec::new());
    for &containers in &extent.containers {
        while created < containers {
            session.next(CONTAINERS, &format!("creating {containers}"))?;
            times.push(milliseconds(netctl(
                &big.world,
                &["container", "create", &format!("box{created}"), "--network", NETWORK],
            )?));
            created += 1;
        }
        look(session, CONTAINERS, containers, &everybody)?;
    }
    session.expect(3);
    if times.len() >= 10 {
        let tenth = times.len() / 10;
        let ratio = quantile(&times[times.len() - tenth..], 0.5) / quantile(&times[..tenth], 0.5);
        let mut figures = vec![(ALL_TIME, times.iter().sum::<f64>() / 1e3), (FLATNESS, ratio)];
        figures.extend(percentiles(&times));
        session.take(&control::key(NETD, CREATE, created), 1, Ok(figures));
    }
    big.publish(0, published)?;
    look(session, BOTH, created, &everybody)?;
    session.take(&control::key(NETD, GROWN, created), 1, Ok(vec![(MEMORY, resident(&big.world))]));
    for round in 1..=extent.scale_rounds {
        session.next("scale", "agent restart")?;
        let figures = restart(&big.world);
        session.take(&control::key(NETD, RESTART, created), round, figures);
    }
    Ok(())
}

/// Ends the agent and starts it again while packets flow to a published port.
fn restart(world: &World) -> Result<Vec<(Metric, f64)>> {
    let address = format!("{HOST}:{}", Service::Datagrams.port() + crate::contestant::PUBLISHED);
    std::thread::scope(|scope| {
        let traffic =
            scope.spawn(|| load(&world.outside, &["datagrams", "0", RESTART_MS, "send", RESTART_RATE, &address]));
        std::thread::sleep(Duration::from_millis(500));
        if !world.stop() {
            bail!("netd did not end on SIGTERM");
        }
        let begin = Instant::now();
        world.launch();
        // Ready is when its socket answers, which is after its first pass over all that should be there.
        let is_ready = holds_within(seconds(60), || UnixStream::connect(world.socket()).is_ok());
        netctl(world, &["status"])?;
        let ready = begin.elapsed().as_secs_f64();
        if !is_ready {
            bail!("netd did not become ready within a minute");
        }
        let said = traffic.join().unwrap_or_else(|_| bail!("the generator failed"))?;
        let count = |field: &str| said[field].as_f64().context("a count");
        let (sent, received) = (count("sent")?, count("received")?);
        Ok(vec![(READY, ready), (SENT, sent), (LOST, sent - received)])
    })
}

/// A Linux bridge takes 1,023 ports, and so no more containers.
fn bridge(session: &mut Session) -> Result<()> {
    let extent = session.extent.clone();
    let mut bridge = Bridge::new(Rules::Iptables)?;
    let routes = bridge.routes();
    for route in &routes {
        regime::prepare(&route.client);
        regime::prepare(&route.server);
    }
    let _servers = serve(&bridge.web)?;
    for &publishes in &extent.publishes {
        bridge.load(publishes)?;
        look(session, PUBLISHES, publishes, &[(IPTABLES, &routes)])?;
    }
    bridge.load(0)?;
    for &containers in &extent.containers {
        session.next(CONTAINERS, &format!("plugging {containers} into a bridge"))?;
        bridge.grow(containers)?;
        look(session, CONTAINERS, containers, &[(IPTABLES, &routes)])?;
    }
    Ok(())
}
