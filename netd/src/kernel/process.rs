//! As whom does this process run, and what is a group called?

use nix::unistd::{Gid, Group};

/// Whether this process may do all that netd needs.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The number of a group that is given by name or by number; none when there is no such group.
#[must_use]
pub fn group(name_or_number: &str) -> Option<u32> {
    if let Ok(number) = name_or_number.parse() {
        return Some(number);
    }
    Group::from_name(name_or_number).ok().flatten().map(|group| Gid::as_raw(group.gid))
}
