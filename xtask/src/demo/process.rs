//! Which processes are the demo's, and how do they end?

use crate::run;
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);

/// A process, told from a later one with the same number by when it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
    /// Clock ticks since boot (field 22 of proc_pid_stat(5)).
    started: u64,
}

impl Process {
    /// Starts a program in the background. It is in a process group of its own, so Ctrl-C does not reach it: it ends
    /// when the demo says so.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let line = run::line(command);
        let file = fs::File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("writing {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(file.try_clone().context("a log")?).stdout(file).process_group(0);
        let child = command.spawn().with_context(|| format!("{line} did not start"))?;
        let pid = child.id();
        // A child that nobody waits for stays a zombie, and its start time stays readable.
        let (started, _) = stat(pid).with_context(|| format!("{line} has no entry in /proc"))?;
        Ok(Self { pid, started })
    }

    pub fn is_alive(&self) -> bool {
        // Z: a zombie, X: dead.
        stat(self.pid).is_some_and(|(started, state)| started == self.started && state != 'Z' && state != 'X')
    }

    /// SIGTERM, and SIGKILL for those that are still there after a while.
    pub fn end(&self) {
        for signal in ["-TERM", "-KILL"] {
            if !self.is_alive() {
                return;
            }
            // It may end in between: then there is nothing left to do.
            let _gone = run::output(run::words("kill").args([signal, &self.pid.to_string()]).process_group(0));
            let start = Instant::now();
            while self.is_alive() && start.elapsed() < PATIENCE {
                sleep(Duration::from_millis(10));
            }
        }
    }

    pub fn to_line(&self) -> String {
        format!("{} {}\n", self.pid, self.started)
    }

    pub fn from_line(line: &str) -> Option<Self> {
        let (pid, started) = line.split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// Everything that runs in the network namespace of this file, unless it is our own namespace.
    pub fn all_in(namespace: &Path) -> Vec<Self> {
        let identity = |path: &Path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
        let wanted = identity(namespace);
        if wanted.is_none() || wanted == identity(Path::new("/proc/self/ns/net")) {
            return Vec::new();
        }
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| identity(Path::new(&format!("/proc/{pid}/ns/net"))) == wanted)
            .filter_map(|pid| Some(Self { pid, started: stat(pid)?.0 }))
            .collect()
    }
}

/// When a process started, and its state.
fn stat(pid: u32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold blanks and brackets itself; the state is field 3.
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(22 - 4)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_started_remembered_and_ended() {
        let log = std::env::temp_dir().join(format!("netd-xtask-process-{}", std::process::id()));
        let process = Process::spawn(&mut run::words("sleep 60"), &log).expect("sleep");
        let remembered = Process::from_line(process.to_line().trim()).expect("two numbers");
        assert_eq!(remembered, process);
        assert!(process.is_alive());
        let other = Process { started: process.started + 1, ..process.clone() };
        assert!(!other.is_alive(), "the same number, but another process");
        process.end();
        assert!(!process.is_alive());
        fs::remove_file(&log).expect("tidying up");
    }

    #[test]
    fn our_own_namespace_is_never_emptied() {
        assert!(Process::all_in(Path::new("/proc/self/ns/net")).is_empty());
        assert!(Process::all_in(Path::new("/no/such/namespace")).is_empty());
    }
}
