//! Who may speak to the kernel?
//!
//! There are two doors: `netd/src/kernel/` for system calls, `netd-ebpf/src/kernel/` for BPF helpers. The tests are
//! outside of the house, and so is xtask.

use super::Source;
use super::code::{code_only, line_number};

struct Door {
    /// What is spoken only behind the door.
    crates: &'static [&'static str],
    /// The door, and named exceptions.
    allowed: &'static [&'static str],
}

const OUTSIDE_OF_THE_HOUSE: &[&str] = &["tests/", "xtask/"];

const DOORS: &[Door] = &[
    Door {
        crates: &["rtnetlink", "netlink_", "aya", "aya_obj", "nix", "libc"],
        allowed: &[
            "netd/src/kernel/",
            // `aya::Pod` is a foreign trait and the types are netd-common's, so only it can connect the two.
            "netd-common/src/layout.rs",
        ],
    },
    Door {
        crates: &["aya_ebpf"],
        allowed: &[
            "netd-ebpf/src/kernel/",
            // The entry points are made by its macros.
            "netd-ebpf/src/main.rs",
        ],
    },
];

pub fn breaches(source: &Source) -> Vec<String> {
    if OUTSIDE_OF_THE_HOUSE.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let code = code_only(&source.text);
    let mut found = Vec::new();
    for door in DOORS {
        if door.allowed.iter().any(|path| source.path.starts_with(path)) {
            continue;
        }
        for (at, name) in paths(&code) {
            if door.crates.iter().any(|of| name == *of || (of.ends_with('_') && name.starts_with(of))) {
                let line = line_number(&code, at);
                found.push(format!("{}:{line}: {name} is used outside of {}", source.path, door.allowed.join(", ")));
            }
        }
    }
    found
}

/// Every name that a `::` follows and that stands at the start of its path, with its place.
fn paths(code: &str) -> Vec<(usize, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = &code[..at];
        let name = &before[before.trim_end_matches(is_name).len()..];
        let start = at - name.len();
        let before = &code[..start];
        // `::aya` starts at the root; in `kernel::aya` and `<T>::aya` it is a part further on.
        let is_start = before.strip_suffix("::").is_none_or(|path| !path.ends_with(is_name) && !path.ends_with('>'));
        if !name.is_empty() && is_start {
            found.push((start, name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_of(path: &str, text: &str) -> usize {
        breaches(&Source { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn system_calls_are_made_behind_their_door() {
        for line in [
            "use nix::mount;",
            "use aya::Ebpf;",
            "    libc::getuid()",
            "impl ::aya::Pod for X",
            "use netlink_sys::Socket;",
        ] {
            assert_eq!(breaches_of("netd/src/api/mod.rs", line), 1, "{line}");
            assert_eq!(breaches_of("netd/src/kernel/netlink.rs", line), 0, "{line}");
            assert_eq!(breaches_of("tests/lib.rs", line), 0, "{line}");
        }
    }

    #[test]
    fn helpers_are_called_behind_theirs() {
        let line = "use aya_ebpf::helpers;";
        assert_eq!(breaches_of("netd-ebpf/src/hook/mod.rs", line), 1);
        assert_eq!(breaches_of("netd-ebpf/src/kernel/maps.rs", line), 0);
        assert_eq!(breaches_of("netd-ebpf/src/main.rs", line), 0);
    }

    #[test]
    fn words_that_only_look_like_it_are_free() {
        for line in ["// libc::getuid", "let x = \"nix::\";", "crate::kernel::nix::x()", "aya_build::build_ebpf()"] {
            assert_eq!(breaches_of("netd/src/api/mod.rs", line), 0, "{line}");
        }
    }
}
