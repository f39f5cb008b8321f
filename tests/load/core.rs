//! Where does a program run, and how is a core kept awake?

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps this process, and what it starts from now on, on one core.
pub fn stay(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("staying on core {core}"))
}

/// Runs whenever nobody else wants to, until it is killed or its parent is gone.
pub fn spin() -> Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameter` outlives the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("SCHED_IDLE");
    }
    // A process that is nice is accounted as `nice` in /proc/stat, and so is told from those that are measured.
    // SAFETY: it takes a number alone.
    unsafe { libc::nice(19) };
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        for _ in 0..10_000_000 {
            std::hint::spin_loop();
        }
    }
    Ok(())
}
