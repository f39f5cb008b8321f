//! How long does a change take, and what does it cost?

use crate::agent;
use crate::contestants::{CNI, Cni, DOCKER, DOCKER_WITHOUT_PROXY, Docker, NETD, netd_world};
use crate::series::{Key, Metric, quantile};
use crate::session::{Session, caught};
use anyhow::{Result, bail};
use netd_tests::world::{World, binary};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub const PUBLISH: &str = "publish";
pub const UNPUBLISH: &str = "unpublish";
pub const CREATE: &str = "container create";
pub const REMOVE: &str = "container remove";
pub const IDLE: &str = "idle";

pub const TIME: Metric = Metric::less("time", "ms");
pub const TIME_P50: Metric = Metric::less("p50", "ms");
pub const TIME_P99: Metric = Metric::less("p99", "ms");
pub const PROCESSES: Metric = Metric::less("processes", "more");
/// Of an agent while idle: all that is resident. Of a change: how much more it and its maps take.
pub const MEMORY: Metric = Metric::less("memory", "MiB");
pub const MAPS: Metric = Metric::less("map memory", "MiB");

/// The first of the ports that are published.
const PORTS_FROM: u64 = 20_000;

pub fn key(contestant: &str, work: &str, size: u64) -> Key {
    Key { part: "control".to_owned(), contestant: contestant.to_owned(), work: work.to_owned(), size, ..Key::default() }
}

/// Measures one contestant.
type Measure = fn(&mut Session) -> Result<()>;

/// All contestants that have a control plane.
pub fn control(session: &mut Session, keys: &[&str]) -> Result<()> {
    let all: [(&str, Measure); 4] = [
        (NETD, netd),
        (CNI, cni),
        (DOCKER, |session| docker(session, DOCKER, true)),
        (DOCKER_WITHOUT_PROXY, |session| docker(session, DOCKER_WITHOUT_PROXY, false)),
    ];
    for (name, measure) in all.into_iter().filter(|(name, _)| keys.contains(name)) {
        session.next("control plane", name)?;
        if let Err(error) = caught(|| measure(session)) {
            session.next("control plane", name)?;
            session.remark(format!("control plane of {name}: {error:#}"));
        }
    }
    Ok(())
}

/// Runs a netctl that must succeed; how long a user waited for it.
pub fn netctl(world: &World, words: &[&str]) -> Result<Duration> {
    let begin = Instant::now();
    let output = Command::new(binary("netctl")).arg("--socket").arg(world.socket()).args(words).output()?;
    let took = begin.elapsed();
    if !output.status.success() {
        bail!("netctl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(took)
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Resident memory of netd in MiB.
pub fn resident(world: &World) -> f64 {
    agent::resident_kib(Path::new(&format!("/proc/{}", world.pid()))) as f64 / 1024.0
}

fn maps(world: &World) -> f64 {
    agent::maps_kib(world.pid()) as f64 / 1024.0
}

/// The median and the 99th of a hundred.
pub fn percentiles(times: &[f64]) -> Vec<(Metric, f64)> {
    vec![(TIME_P50, quantile(times, 0.5)), (TIME_P99, quantile(times, 0.99))]
}

fn netd(session: &mut Session) -> Result<()> {
    let extent = session.extent.clone();
    session.expect(extent.ports.len() * 2 * extent.changes as usize + 3);
    let world = netd_world();
    session.take(&key(NETD, IDLE, 0), 1, Ok(vec![(MEMORY, resident(&world)), (MAPS, maps(&world))]));
    world.plain("web");
    for &ports in &extent.ports {
        let last = PORTS_FROM + ports - 1;
        let spec = format!("{PORTS_FROM}-{last}:{PORTS_FROM}-{last}");
        for round in 1..=extent.changes {
            session.next("control plane", &format!("netd, {ports} ports"))?;
            let (before, children) = (resident(&world) + maps(&world), agent::children(world.pid()));
            let took = netctl(&world, &["publish", "web", &spec])?;
            let figures = vec![
                (TIME, milliseconds(took)),
                (MEMORY, resident(&world) + maps(&world) - before),
                (PROCESSES, (agent::children(world.pid()) - children) as f64),
            ];
            session.take(&key(NETD, PUBLISH, ports), round, Ok(figures));
            let took = netctl(&world, &["unpublish", "web", &spec])?;
            session.take(&key(NETD, UNPUBLISH, ports), round, Ok(vec![(TIME, milliseconds(took))]));
        }
    }
    let names: Vec<String> = (1..=extent.peer_containers * 5).map(|number| format!("box{number}")).collect();
    for (work, verb) in [(CREATE, "create"), (REMOVE, "rm")] {
        let times: Result<Vec<f64>> =
            names.iter().map(|name| Ok(milliseconds(netctl(&world, &["container", verb, name])?))).collect();
        session.take(&key(NETD, work, 1), 1, times.map(|times| percentiles(&times)));
    }
    Ok(())
}

fn cni(session: &mut Session) -> Result<()> {
    let extent = session.extent.clone();
    let sizes: Vec<u64> = extent.ports.iter().copied().filter(|ports| *ports <= extent.peer_ports_max).collect();
    session.expect(2 + sizes.len() * 2);
    let cni = Cni::new()?;
    let mut plugged = Vec::new();
    for number in 0..extent.peer_containers {
        session.next("control plane", CNI)?;
        plugged.push(cni.add(&format!("box{number}"), &[])?);
    }
    let took: Vec<f64> = plugged.iter().map(|plugged| milliseconds(plugged.took)).collect();
    session.take(&key(CNI, CREATE, 1), 1, Ok(percentiles(&took)));
    let base = quantile(&took, 0.5);
    let took: Result<Vec<f64>> = plugged.iter().map(|plugged| cni.remove(plugged).map(milliseconds)).collect();
    let took = took?;
    session.take(&key(CNI, REMOVE, 1), 1, Ok(percentiles(&took)));
    let base_remove = quantile(&took, 0.5);
    for ports in sizes {
        session.next("control plane", &format!("{CNI}, {ports} ports"))?;
        let list: Vec<(&str, u16, u16)> = (PORTS_FROM..PORTS_FROM + ports)
            .filter_map(|port| Some(("tcp", u16::try_from(port).ok()?, u16::try_from(port).ok()?)))
            .collect();
        // A port comes and goes with its container; what the container alone takes is taken off.
        let plugged = cni.add("publisher", &list)?;
        let time = (milliseconds(plugged.took) - base).max(0.0);
        session.take(&key(CNI, PUBLISH, ports), 1, Ok(vec![(TIME, time)]));
        let time = (milliseconds(cni.remove(&plugged)?) - base_remove).max(0.0);
        session.take(&key(CNI, UNPUBLISH, ports), 1, Ok(vec![(TIME, time)]));
    }
    Ok(())
}

fn docker(session: &mut Session, name: &'static str, has_proxy: bool) -> Result<()> {
    let extent = session.extent.clone();
    let sizes: Vec<u64> = extent.ports.iter().copied().filter(|ports| *ports <= extent.peer_ports_max).collect();
    session.expect(2 + sizes.len() * 2);
    let docker = Docker::new(has_proxy)?;
    let timed = |command: &dyn Fn() -> Result<()>| {
        let begin = Instant::now();
        command().map(|()| milliseconds(begin.elapsed()))
    };
    let (mut created, mut removed) = (Vec::new(), Vec::new());
    for number in 0..extent.peer_containers {
        session.next("control plane", name)?;
        let container = format!("box{number}");
        created.push(timed(&|| docker.run(&container, ""))?);
        removed.push(timed(&|| docker.command(&format!("rm -f {container}")).map(drop))?);
    }
    session.take(&key(name, CREATE, 1), 1, Ok(percentiles(&created)));
    session.take(&key(name, REMOVE, 1), 1, Ok(percentiles(&removed)));
    let (base, base_removed) = (quantile(&created, 0.5), quantile(&removed, 0.5));
    for ports in sizes {
        session.next("control plane", &format!("{name}, {ports} ports"))?;
        let last = PORTS_FROM + ports - 1;
        let publish = format!("-p {PORTS_FROM}-{last}:{PORTS_FROM}-{last}");
        let before = docker.proxies();
        let time = timed(&|| docker.run("publisher", &publish))? - base;
        let after = docker.proxies();
        let figures = vec![
            (TIME, time.max(0.0)),
            (PROCESSES, (after.0 - before.0) as f64),
            (MEMORY, after.1.saturating_sub(before.1) as f64 / 1024.0),
        ];
        session.take(&key(name, PUBLISH, ports), 1, Ok(figures));
        let time = timed(&|| docker.command("rm -f publisher").map(drop))? - base_removed;
        session.take(&key(name, UNPUBLISH, ports), 1, Ok(vec![(TIME, time.max(0.0))]));
    }
    Ok(())
}
