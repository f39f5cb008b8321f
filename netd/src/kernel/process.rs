//! As whom does this process run, on how large a machine, with how many files, and what is a group called?

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Group};
use std::io;

/// Whether this process may do all that netd needs.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Raises the limit of open files as far as this process may. Each container's name server takes two, and the shell's limit
/// is made for programs that use `select`.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_open_files() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// Bytes of memory that this machine has (`MemTotal` of proc_meminfo(5)).
///
/// # Errors
/// When `/proc` does not say.
pub fn memory() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    memory_of(&text).ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))
}

fn memory_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The number of a group that is given by name or by number; none when there is no such group.
#[must_use]
pub fn group(name_or_number: &str) -> Option<u32> {
    if let Ok(number) = name_or_number.parse() {
        return Some(number);
    }
    Group::from_name(name_or_number).ok().flatten().map(|group| Gid::as_raw(group.gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory_of("MemTotal:       24567890 kB\nMemFree:  1 kB\n"), Some(24_567_890 * 1024));
        assert_eq!(memory_of("MemFree: 1 kB\n"), None);
        assert!(memory().expect("this machine's") > 0);
    }
}
