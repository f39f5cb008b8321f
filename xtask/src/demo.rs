//! What does netd do, shown with real programs?
//!
//! A story: each step shows a command and what it printed, and fails unless that is what it should be. The stage is in
//! `world`.

mod process;
mod servers;
mod world;

use crate::{run, setup};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::time::Duration;
use world::{HOST_ADDRESS, OUTSIDE_ADDRESS, World};

/// What the demo shows. It is applied from a copy in the demo's folder, which can be changed when the demo is kept.
const FILE: &str = include_str!("../demo.toml");

#[derive(clap::Args)]
pub struct Options {
    /// Leave everything running, and say how to look around
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// End what --keep left running, or what a killed demo left behind
    #[arg(long)]
    stop: bool,
}

pub fn demo(options: &Options) -> Result<()> {
    if !run::is_root() {
        bail!("the demo makes network namespaces and loads programs into the kernel: run it as root");
    }
    if options.stop {
        return world::stop_all();
    }
    setup::setup(&setup::Options::default())?;
    run::step(&mut run::words("cargo build --quiet --package netd --bins"))?;

    let mut world = World::build()?;
    if let Err(error) = story(&mut world) {
        world.show_log();
        return Err(error);
    }
    if options.keep {
        return world.keep();
    }
    world.tear_down()?;
    println!("\nAll of it worked, and all of it is gone again.");
    Ok(())
}

fn story(world: &mut World) -> Result<()> {
    chapter("A host with an uplink to the outside, no forwarding, no firewall; netd is started in it");
    world.show(["host", "ip", "-br", "address"], &[HOST_ADDRESS])?;
    world.start_netd()?;
    world.show(["netctl", "network", "ls"], &["bridge"])?;

    chapter("Two containers and a published port, as a file says; and a real web server in one of them");
    let file = world.path("net.toml").to_string_lossy().into_owned();
    fs::write(&file, FILE).context("writing net.toml")?;
    world.show(["cat", file.as_str()], &["[container.web]"])?;
    world.show(["netctl", "apply", "-f", &file, "--dry-run"], &["+ container web"])?;
    let made = ["+ container client", "+ container web", "+ publish web 8080:80/tcp"];
    world.show(["netctl", "apply", "-f", &file], &made)?;
    world.show_exactly(["netctl", "apply", "-f", &file], "nothing to do")?;
    let [web, client] = [world.address_of("web")?, world.address_of("client")?];
    let log = servers::start_web(world)?;
    servers::start_outside(world)?;
    world.show(["netctl", "container", "ls"], &["web", "client", &web, &client])?;

    chapter("client -> web, by address: switched, the source address as it is");
    let url = format!("http://{web}/");
    world.show(exec_client(&["curl", "-sS", "--max-time", "5", &url]), &[&servers::greeting("web", &client)])?;

    chapter("client -> outside: masqueraded, the server sees the host");
    let url = format!("http://{OUTSIDE_ADDRESS}:{}/", servers::OUTSIDE_PORT);
    let seen = servers::greeting("outside", HOST_ADDRESS);
    world.show(exec_client(&["curl", "-sS", "--max-time", "5", &url]), &[&seen])?;
    world.show(exec_client(&["ping", "-c", "1", "-W", "2", OUTSIDE_ADDRESS]), &["1 received"])?;

    chapter("The published port: outside -> host:8080 -> web, which sees the real client");
    let url = format!("http://{HOST_ADDRESS}:8080/");
    let seen = servers::greeting("web", OUTSIDE_ADDRESS);
    world.show(["outside", "curl", "-sS", "--max-time", "5", &url], &[&seen])?;
    let log = log.to_string_lossy().into_owned();
    world.wait_for("the access log's line", Duration::from_secs(2), || {
        Ok(fs::read_to_string(&log)?.lines().last().is_some_and(|line| line.starts_with(OUTSIDE_ADDRESS)))
    })?;
    world.show(["tail", "-n", "1", &log], &[OUTSIDE_ADDRESS])?;

    chapter("host -> 127.0.0.1:8080, with no proxy");
    world.show(
        ["host", "curl", "-sS", "--max-time", "5", "http://127.0.0.1:8080/"],
        &[&servers::greeting_start("web")],
    )?;

    chapter("What the kernel holds of it: the map of published ports, and netd's tables");
    let map = world.pinned_map("PUBLISHED")?;
    world.show(["bpftool", "map", "dump", "pinned", &map], &["\"port\": 8080,", "\"port\": 80,"])?;
    world.show(["netctl", "port", "ls"], &["web", "8080", "80"])?;
    world.show(["netctl", "flow", "ls"], &[&client, OUTSIDE_ADDRESS])?;
    world.show(["netctl", "stats"], &["redirected"])?;
    world.show(["netctl", "status"], &[world::UPLINK])?;

    chapter("What it did without: forwarding, a Linux bridge, a netfilter rule");
    world.show_exactly(["host", "cat", "/proc/sys/net/ipv4/ip_forward"], "0")?;
    world.show_exactly(["host", "ip", "link", "show", "type", "bridge"], "")?;
    world.show_exactly(["host", "nft", "list", "ruleset"], "")
}

fn chapter(title: &str) {
    println!("\n# {title}");
}

fn exec_client<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["netctl", "exec", "client", "--"];
    words.extend(command);
    words
}

/// The text of the first member `name` in a JSON document: enough for one address, and no dependency.
fn json_text(json: &str, name: &str) -> Result<String> {
    let after = json.split_once(&format!("\"{name}\"")).map(|(_, after)| after.trim_start());
    let value = after.and_then(|after| after.strip_prefix(':')).and_then(|after| after.trim_start().strip_prefix('"'));
    let text = value.and_then(|value| value.split('"').next());
    text.map(str::to_owned).with_context(|| format!("no text \"{name}\" in {json}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_in_any_layout() {
        for json in [r#"{"a":1,"ipv4":"10.0.0.2/24"}"#, "{\n  \"ipv4\" : \"10.0.0.2/24\",\n \"b\": null}"] {
            assert_eq!(json_text(json, "ipv4").expect("it is there"), "10.0.0.2/24");
        }
        assert!(json_text(r#"{"ipv4":null}"#, "ipv4").is_err());
    }
}
