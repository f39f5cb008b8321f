//! How does a real dockerd run beside whatever else is on this machine?
//!
//! In the network namespace of a host of ours, so that its bridge, rules and sysctls are there; in a mount namespace of its
//! own, where what it writes below /run, /etc and /opt falls on a temporary file system; its data in a folder of ours;
//! its cgroups below one of ours. Ending it and removing the folder leaves the machine as it was.

use super::shell::{Peer, sh};
use super::{DOCKER, DOCKER_WITHOUT_PROXY};
use crate::contestant::{Contestant, Path, Route, Service};
use anyhow::{Context as _, Result, bail};
use netd_tests::world::{HOST, OUTSIDE, Place, Process, World};
use netd_tests::{holds_within, seconds};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Loading its image and starting containerd is most of it.
const START_MAX: std::time::Duration = seconds(40);
const PACKAGE: &str = "docker.io";
const IMAGE: &str = "netd-bench";
/// Where its data is, and how the folders begin, before the number of this process.
const DISK: &str = "/var/tmp";
const FOLDERS: &str = "netd-bench-docker-";

/// A host whose containers are dockerd's.
pub struct Docker {
    has_proxy: bool,
    folder: tempfile::TempDir,
    client: PathBuf,
    process: Process,
    // After the process, which is in its cgroup and namespace.
    pub world: World,
}

impl Docker {
    /// # Errors
    /// Why dockerd does not run here.
    pub fn new(has_proxy: bool) -> Result<Self> {
        let daemon = Peer::find("dockerd", PACKAGE)?;
        let client = Peer::find("docker", "docker.io, or docker-cli")?;
        Peer::find("containerd", "containerd")?;
        let busybox = Peer::find("busybox", "busybox-static")?;
        // Making a world ends, by its cgroup, a dockerd whose bench was killed.
        let world = World::without_netd();
        sweep();
        // On a disk, since overlayfs does not stand on every other file system.
        let folder = {
            let prefix = format!("{FOLDERS}{}-", std::process::id());
            tempfile::Builder::new().prefix(&prefix).tempdir_in(DISK)?
        };
        let script = script(&daemon, &folder.path().display().to_string(), &world.instance, has_proxy);
        let process = world.host.start(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]);
        let mut docker = Self { has_proxy, folder, client, process, world };
        let ready = holds_within(START_MAX, || {
            !docker.process.is_running() || docker.command("version >/dev/null 2>&1").is_ok()
        });
        if !ready || !docker.process.is_running() {
            let log = fs::read_to_string(docker.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            bail!("dockerd does not run here; its last words: {}", lines[lines.len().saturating_sub(8)..].join(" / "));
        }
        let import = format!(
            "t=$(mktemp -d); install -D {} $t/bin/busybox; tar -C $t -c . | {} import - {IMAGE} >/dev/null; rm -r $t",
            busybox.display(),
            docker.client_line()
        );
        sh(&docker.world.host, &import).context("making an image")?;
        Ok(docker)
    }

    fn client_line(&self) -> String {
        let folder = self.folder.path().display();
        format!("env DOCKER_CONFIG={folder}/client {} -H unix://{folder}/docker.sock", self.client.display())
    }

    /// Runs the client with these words.
    pub fn command(&self, words: &str) -> Result<String> {
        sh(&self.world.host, &format!("{} {words}", self.client_line()))
    }

    /// Starts a container that does nothing.
    pub fn run(&self, name: &str, options: &str) -> Result<()> {
        self.command(&format!("run -d --name {name} {options} {IMAGE} /bin/busybox sleep 1000000")).map(drop)
    }

    /// Its namespace and address.
    fn inspect(&self, name: &str) -> Result<(Place, Ipv4Addr)> {
        let format = "'{{.State.Pid}} {{.NetworkSettings.IPAddress}}'";
        let said = self.command(&format!("inspect -f {format} {name}"))?;
        let (pid, ip) = said.trim().split_once(' ').context("a process and an address")?;
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        Ok((Place::open(name, &path, None), ip.parse()?))
    }

    /// How many docker-proxy it has started, and their resident memory in KiB.
    pub fn proxies(&self) -> (u64, u64) {
        let own = self.world.host.exec(["readlink", "/proc/self/ns/net"]).stdout.trim().to_owned();
        let (mut count, mut memory) = (0, 0);
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let path = entry.path();
            let is_proxy = fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == "docker-proxy");
            let is_ours = fs::read_link(path.join("ns/net")).is_ok_and(|link| link.to_string_lossy() == own);
            if is_proxy && is_ours {
                count += 1;
                memory += crate::agent::resident_kib(&path);
            }
        }
        (count, memory)
    }

    pub fn contestant(self) -> Result<Contestant> {
        let options: Vec<String> = Service::ALL.iter().map(|service| format!("-p {}", service.publish())).collect();
        self.run("web", &options.join(" "))?;
        self.run("client", "")?;
        let (web, ip) = self.inspect("web")?;
        let (client, _) = self.inspect("client")?;
        let host = &self.world.host;
        let routes = vec![
            Route::new(Path::SameHost, &client, &web, ip),
            Route::new(Path::Published, &self.world.outside, &web, HOST),
            Route::new(Path::Outbound, &client, &self.world.outside, OUTSIDE),
            Route::new(Path::Loopback, host, &web, Ipv4Addr::LOCALHOST),
            Route::new(Path::Direct, host, &web, ip),
        ];
        let setup = vec![
            self.command(
                "version --format 'dockerd {{.Server.Version}}, {{.Server.GitCommit}}, {{.Server.GoVersion}}'",
            )?,
            format!("dockerd {}", options_of(self.has_proxy)),
            format!("docker run -d --name web {}; docker run -d --name client", options.join(" ")),
            "the programs that are measured run in the containers' network namespaces, as everybody's do".to_owned(),
            "iptables-save afterwards:".to_owned(),
            sh(host, "iptables --version; iptables-save | grep -v '^#'")?,
        ];
        let key = if self.has_proxy { DOCKER } else { DOCKER_WITHOUT_PROXY };
        Contestant::new(key, setup, routes, self)
    }
}

fn options_of(has_proxy: bool) -> String {
    format!("--iptables=true --userland-proxy={has_proxy}")
}

/// Prepares the mount namespace and becomes dockerd.
fn script(daemon: &std::path::Path, folder: &str, instance: &str, has_proxy: bool) -> String {
    format!(
        "set -e
         mkdir {folder}/data {folder}/exec {folder}/upper {folder}/client
         mount -t tmpfs tmpfs {folder}/upper
         for dir in etc opt; do
           mkdir {folder}/upper/$dir {folder}/upper/$dir.work
           mount -t overlay overlay -o lowerdir=/$dir,upperdir={folder}/upper/$dir,workdir={folder}/upper/$dir.work /$dir
         done
         mount -t tmpfs tmpfs /run
         exec {} --data-root={folder}/data --exec-root={folder}/exec --pidfile={folder}/pid --host=unix://{folder}/docker.sock \
           --cgroup-parent=/{instance} {} >{folder}/log 2>&1",
        daemon.display(),
        options_of(has_proxy)
    )
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Containers first, so that nobody is left who would wait for a daemon.
        let ids = self.command("ps -aq").unwrap_or_default();
        if !ids.trim().is_empty() {
            let _ = self.command(&format!("rm -f {} >/dev/null", ids.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
        if !self.process.terminate(seconds(20)) {
            eprintln!("dockerd did not end within 20 s and is killed");
        }
        // With version 1 of cgroups each controller has a folder of this name; with version 2 it is the world's own.
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let folder = controller.path().join(&self.world.instance);
            if controller.file_name() != "unified" && controller.file_name().to_string_lossy() != self.world.instance {
                remove_cgroups(&folder);
            }
        }
    }
}

/// Removes empty cgroups, the lowest first.
fn remove_cgroups(folder: &std::path::Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Removes the folders of runs that were killed.
fn sweep() {
    for entry in fs::read_dir(DISK).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(FOLDERS).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
