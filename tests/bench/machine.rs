//! On what was it measured?

use serde::{Deserialize, Serialize};
use std::fs;
use std::process::Command;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub system: String,
    pub virtualised: bool,
    /// The revision of netd, and whether files differ from it.
    pub netd: String,
    pub iperf3: String,
    /// One, five and fifteen minutes before the run began.
    pub load: String,
}

/// Bytes of memory.
pub fn memory() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn said(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

impl Machine {
    pub fn look() -> Self {
        let info = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
        };
        let release = read("/etc/os-release");
        let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
        let changed =
            if said(&["git", "status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { ", changed" };
        Self {
            kernel: format!("{} {}", read("/proc/sys/kernel/osrelease").trim(), std::env::consts::ARCH),
            processor: field("model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory() >> 20,
            system: system.trim_matches('"').to_owned(),
            virtualised: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            netd: format!("{}{changed}", said(&["git", "rev-parse", "--short", "HEAD"])),
            iperf3: said(&["iperf3", "--version"]),
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }
}
