//! What stage does the demo play on, and how does every bit of it go away?
//!
//! Two network namespaces joined by a veth pair, and one folder under `/run/netd-demo` with everything else: netd's
//! settings, state, socket, bpffs and namespaces, the servers' files, the list of processes. `host`, `outside` and
//! `netctl` in that folder are scripts, so that what the demo shows can be typed by hand when it is kept.
//! The folder's name follows from the demo's process, and all names follow from the folder, so that whoever knows the
//! folder can tear the rest down.

use super::json_text;
use super::process::Process;
use crate::run;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const BASE: &str = "/run/netd-demo";
pub const UPLINK: &str = "uplink0";
pub const HOST_ADDRESS: &str = "198.18.0.2";
pub const OUTSIDE_ADDRESS: &str = "198.18.0.1";

/// Torn down when it goes out of scope, on whatever way.
pub struct World {
    stage: Stage,
    stopped: Arc<AtomicBool>,
    netd: Option<Process>,
    is_up: bool,
}

impl World {
    pub fn build() -> Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&stopped)).context("catching Ctrl-C")?;
        }
        let stage = Stage { dir: Path::new(BASE).join(std::process::id().to_string()) };
        // From here on a failure tears down what there is.
        let world = Self { stage, stopped, netd: None, is_up: true };
        world.stage.set()?;
        Ok(world)
    }

    pub fn start_netd(&mut self) -> Result<()> {
        let config = self.path("netd.toml").to_string_lossy().into_owned();
        let netd = run::binaries()?.join("netd").to_string_lossy().into_owned();
        let process = self.spawn("netd.log", ["host", netd.as_str(), "run", "--config", &config])?;
        self.netd = Some(process.clone());
        let stage = Stage { dir: self.stage.dir.clone() };
        self.wait_for("netd", Duration::from_secs(20), || {
            if !process.is_alive() {
                bail!("netd ended");
            }
            Ok(stage.command(&["netctl", "status"])?.output().context("netctl did not start")?.status.success())
        })
    }

    /// Runs a command, shows it and what it printed; all of `expected` must be in that.
    pub fn show<'a>(&self, words: impl AsRef<[&'a str]>, expected: &[&str]) -> Result<()> {
        let output = self.shown(words.as_ref())?;
        for text in expected {
            if !output.contains(text.trim_end()) {
                bail!("`{}` should have printed \"{}\"", words.as_ref().join(" "), text.trim_end());
            }
        }
        Ok(())
    }

    /// The same, with all of the output given.
    pub fn show_exactly<'a>(&self, words: impl AsRef<[&'a str]>, expected: &str) -> Result<()> {
        let output = self.shown(words.as_ref())?;
        if output.trim() != expected {
            bail!("`{}` should have printed \"{expected}\"", words.as_ref().join(" "));
        }
        Ok(())
    }

    fn shown(&self, words: &[&str]) -> Result<String> {
        println!("$ {}", run::line(Command::new(words.first().unwrap_or(&"")).args(words.iter().skip(1))));
        let output = run::output(&mut self.stage.command(words)?);
        self.check_interrupted()?;
        let output = output?;
        for line in output.lines() {
            println!("  {line}");
        }
        Ok(output)
    }

    /// Starts a command in the background.
    pub fn spawn<'a>(&mut self, log: &str, words: impl AsRef<[&'a str]>) -> Result<Process> {
        println!("$ {} &", words.as_ref().join(" "));
        let process = Process::spawn(&mut self.stage.command(words.as_ref())?, &self.path(log))?;
        self.stage.remember(&process)?;
        Ok(process)
    }

    /// Asks again and again, for at most so long.
    pub fn wait_for(&self, what: &str, time_max: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !ready().with_context(|| format!("waiting for {what}"))? {
            self.check_interrupted()?;
            if start.elapsed() > time_max {
                bail!("{what} was not there after {} s", time_max.as_secs());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub fn address_of(&self, container: &str) -> Result<String> {
        let json =
            run::output(&mut self.stage.command(&["netctl", "-o", "json", "container", "inspect", container])?)?;
        let address = json_text(&json, "ipv4")?;
        Ok(address.split('/').next().unwrap_or(&address).to_owned())
    }

    /// The path of a pinned map: there is one folder for the one version of the ABI.
    pub fn pinned_map(&self, name: &str) -> Result<String> {
        let folder = self.path("bpf/netd/demo");
        let versions = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        let maps = versions.flatten().map(|version| version.path().join(name));
        let map = maps.into_iter().find(|map| map.exists());
        let map = map.with_context(|| format!("no map {name} is pinned below {}", folder.display()))?;
        Ok(map.to_string_lossy().into_owned())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.stage.dir.join(name)
    }

    /// What the programs in the background said last, for whoever has to find out what went wrong.
    pub fn show_log(&self) {
        for name in ["netd.log", "web.log", "outside.log"] {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                eprintln!("\n{name} ends with:\n  {}", lines[lines.len().saturating_sub(20)..].join("\n  "));
            }
        }
    }

    fn check_interrupted(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Leaves it all running.
    pub fn keep(mut self) -> Result<()> {
        fs::write(self.path(KEPT), "").context("noting that this is kept")?;
        self.is_up = false;
        let dir = self.stage.dir.display();
        println!(
            "\nIt is left running. To look around:\n\
             \x20   cd {dir}\n\
             \x20   ./netctl apply -f net.toml            # after changing it; --dry-run, --prune
             \x20   ./netctl container ls              # or status, flow ls, stats, publish web 8081:80\n\
             \x20   ./host curl http://127.0.0.1:8080/    # any program, in the host's namespace\n\
             \x20   ./outside curl http://{HOST_ADDRESS}:8080/ # any program, on the outside\n\
             \x20   ./netctl exec client -- sh\n\
             \x20   ls bpf/netd/demo/*                    # the pinned maps, for bpftool\n\
             \x20   tail -f netd.log\n\
             To end it: cargo xtask demo --stop"
        );
        Ok(())
    }

    pub fn tear_down(mut self) -> Result<()> {
        println!("\n==> tidying up");
        self.is_up = false;
        self.stage.strike()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.is_up {
            eprintln!("\n==> tidying up");
            if let Err(error) = self.stage.strike() {
                eprintln!("{error:#}");
            }
        }
    }
}

/// In the folder of a demo that outlives its process.
const KEPT: &str = "kept";

/// Tears down every demo that is kept, and those whose process is gone.
pub fn stop_all() -> Result<()> {
    let mut failures = Vec::new();
    let mut count = 0_usize;
    for entry in fs::read_dir(BASE).into_iter().flatten().flatten() {
        let dir = entry.path();
        let owner = Path::new("/proc").join(entry.file_name());
        if dir.join(KEPT).exists() || !owner.exists() {
            println!("==> tidying up {}", dir.display());
            count += 1;
            failures.extend(Stage { dir }.strike().err());
        }
    }
    match failures.pop() {
        Some(error) => Err(error),
        None if count == 0 => {
            println!("nothing is left of a demo");
            Ok(())
        }
        None => Ok(()),
    }
}

/// The namespaces and the folder; knows nothing that does not follow from the folder.
struct Stage {
    dir: PathBuf,
}

impl Stage {
    fn tag(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn namespace(&self, role: &str) -> String {
        format!("netd-demo-{}-{role}", self.tag())
    }

    fn namespace_path(&self, role: &str) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(role))
    }

    fn cgroup(&self) -> Result<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        let mount = cgroup2_mount(&mounts).context("no cgroup2 file system is mounted; mount one")?;
        Ok(Path::new(&mount).join(format!("netd-demo-{}", self.tag())))
    }

    fn set(&self) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("making {}", self.dir.display()))?;
        let [host, outside] = ["host", "outside"].map(|role| self.namespace(role));
        for namespace in [&host, &outside] {
            ip(&["netns", "add", namespace])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        let peer = ["peer", "name", "eth0", "netns", outside.as_str()];
        ip(&[&["-n", &host, "link", "add", UPLINK, "type", "veth"], peer.as_slice()].concat())?;
        ip(&["-n", &host, "address", "add", &format!("{HOST_ADDRESS}/24"), "dev", UPLINK])?;
        ip(&["-n", &outside, "address", "add", &format!("{OUTSIDE_ADDRESS}/24"), "dev", "eth0"])?;
        ip(&["-n", &host, "link", "set", UPLINK, "up"])?;
        ip(&["-n", &outside, "link", "set", "eth0", "up"])?;
        ip(&["-n", &host, "route", "add", "default", "via", OUTSIDE_ADDRESS])?;

        let cgroup = self.cgroup()?;
        fs::create_dir(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        let procs = cgroup.join("cgroup.procs");
        let netctl = run::binaries()?.join("netctl");
        let join = format!("echo $$ >{}", procs.display());
        self.script("host", &format!("{join}\n{}", self.enter("host")))?;
        self.script("outside", &self.enter("outside"))?;
        // Programs of containers too: it is their cgroup that has the names.
        let socket = format!("export NETCTL_SOCKET={}/run/netd.sock", self.dir.display());
        self.script("netctl", &format!("{join}\n{socket}\nexec {} \"$@\"", netctl.display()))?;
        // A new namespace starts with what the machine has, which may be 1.
        run::output(&mut self.command(&["host", "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"])?)?;
        for folder in ["state", "run", "bpf", "netns"] {
            fs::create_dir(self.dir.join(folder)).with_context(|| format!("making {folder}"))?;
        }
        fs::write(self.dir.join("netd.toml"), self.config(&cgroup)).context("writing netd.toml")
    }

    fn enter(&self, role: &str) -> String {
        format!("exec nsenter --net={} \"$@\"", self.namespace_path(role).display())
    }

    fn script(&self, name: &str, body: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).with_context(|| format!("mode of {name}"))
    }

    fn config(&self, cgroup: &Path) -> String {
        let dir = self.dir.display();
        format!(
            "instance = \"demo\"\nstate_dir = \"{dir}/state\"\nrun_dir = \"{dir}/run\"\nbpffs = \"{dir}/bpf\"\n\
             netns_dir = \"{dir}/netns\"\ncgroup = \"{}\"\n",
            cgroup.display()
        )
    }

    /// A command whose first word may be one of the scripts. The caller's own settings of netd are kept away from it.
    fn command(&self, words: &[&str]) -> Result<Command> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        let script = self.dir.join(program);
        let mut command = if script.is_file() { run::command(script) } else { run::command(program) };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("NETD_") || text.starts_with("NETCTL_") {
                command.env_remove(&name);
            }
        }
        command.args(arguments);
        Ok(command)
    }

    fn remember(&self, process: &Process) -> Result<()> {
        let file = fs::File::options().create(true).append(true).open(self.dir.join("processes"));
        let written = file.and_then(|mut file| file.write_all(process.to_line().as_bytes()));
        written.context("noting a process")
    }

    /// Takes everything away, whatever of it there is; goes on after a failure, and tells of the first.
    fn strike(&self) -> Result<()> {
        let list = fs::read_to_string(self.dir.join("processes")).unwrap_or_default();
        let processes: Vec<Process> = list.lines().filter_map(Process::from_line).collect();
        // The last one first: servers, then netd.
        processes.iter().rev().for_each(Process::end);

        let mut failures = Vec::new();
        let config = self.dir.join("netd.toml");
        if let Ok(netd) = run::binaries().map(|folder| folder.join("netd"))
            && netd.exists()
            && config.exists()
        {
            let [netd, config] = [netd, config].map(|path| path.to_string_lossy().into_owned());
            let cleanup = self.command(&["host", &netd, "cleanup", "--config", &config]);
            failures.extend(cleanup.and_then(|mut command| run::output(command.process_group(0))).err());
        }
        let mut namespaces: Vec<PathBuf> = ["host", "outside"].map(|role| self.namespace_path(role)).into();
        namespaces.extend(fs::read_dir(self.dir.join("netns")).into_iter().flatten().flatten().map(|e| e.path()));
        for namespace in &namespaces {
            Process::all_in(namespace).iter().for_each(Process::end);
        }
        for role in ["host", "outside"] {
            if self.namespace_path(role).exists() {
                failures.extend(ip(&["netns", "del", &self.namespace(role)]).err());
            }
        }
        let unmounted = self.unmount();
        let is_unmounted = unmounted.is_ok();
        failures.extend(unmounted.err());
        if let Ok(cgroup) = self.cgroup()
            && cgroup.exists()
        {
            failures.extend(remove_cgroup(&cgroup).err());
        }
        // Nothing may be deleted through a mount.
        if is_unmounted {
            let removed = fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()));
            failures.extend(removed.err());
            // Another demo may be in it.
            let _busy = fs::remove_dir(BASE);
        }
        match failures.into_iter().next() {
            None => Ok(()),
            Some(error) => Err(error.context("the demo was not taken down in good order")),
        }
    }

    /// Unmounts all below the folder, the deepest first.
    fn unmount(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        let mut points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        points.retain(|point| Path::new(point).starts_with(&self.dir));
        points.reverse();
        for point in points {
            run::output(run::words("umount").arg(point).process_group(0))?;
        }
        Ok(())
    }
}

/// The kernel takes a moment to let go of a cgroup whose last process has ended.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(_) if start.elapsed() < Duration::from_secs(2) => sleep(Duration::from_millis(20)),
            Err(error) => return Err(error).with_context(|| format!("removing {}", cgroup.display())),
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    run::output(run::words("ip").args(arguments).process_group(0)).map(drop)
}

/// Where the version 2 tree is: not always `/sys/fs/cgroup` (proc_pid_mountinfo(5): the type follows the ` - `).
fn cgroup2_mount(mountinfo: &str) -> Option<String> {
    let line = mountinfo.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_of_cgroups_is_found_on_a_hybrid_host() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(mounts).as_deref(), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2_mount("30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"), None);
    }

    #[test]
    fn every_name_follows_from_the_folder() {
        let stage = Stage { dir: Path::new(BASE).join("77") };
        assert_eq!(stage.namespace_path("host"), Path::new("/run/netns/netd-demo-77-host"));
        assert!(stage.config(Path::new("/c")).contains("state_dir = \"/run/netd-demo/77/state\""));
    }
}
