//! Has the layout of the maps changed without its number?
//!
//! `netd-common/abi.lock` holds what the ABI was when `ABI_VERSION` was last raised: every `repr(C)` struct and every
//! small constant that stands in one. It is text and not a hash, so that a review shows what changed.

use super::Source;
use super::code::{braced, code_only};
use crate::run;
use anyhow::{Context as _, Result};
use std::fs;

const LOCK: &str = "netd-common/abi.lock";
const VERSION: &str = "pub const ABI_VERSION: u32 =";

pub fn check(sources: &[Source], bless: bool) -> Result<Vec<String>> {
    let now = Abi::of(sources)?;
    let path = run::root().join(LOCK);
    let locked = fs::read_to_string(&path).ok().as_deref().and_then(Abi::parse);
    match compare(&now, locked.as_ref()) {
        Verdict::Same => Ok(Vec::new()),
        Verdict::Writable if bless => {
            fs::write(&path, now.to_text()).with_context(|| format!("writing {LOCK}"))?;
            println!("    {LOCK} now holds ABI version {}", now.version);
            Ok(Vec::new())
        }
        Verdict::Writable => Ok(vec![format!(
            "{LOCK}: does not hold ABI version {} yet; `cargo xtask tidy --bless` writes it",
            now.version
        )]),
        Verdict::Unraised { first } => Ok(vec![format!(
            "{LOCK}: the layout of the maps changed (first: `{first}`) and ABI_VERSION is still {}; raise it in \
             netd-common/src/layout.rs, then `cargo xtask tidy --bless`",
            now.version
        )]),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Abi {
    version: u32,
    /// One definition a line, sorted.
    definitions: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    /// There is no lock, or the version is raised.
    Writable,
    Unraised {
        first: String,
    },
}

fn compare(now: &Abi, locked: Option<&Abi>) -> Verdict {
    match locked {
        None => Verdict::Writable,
        Some(locked) if now == locked => Verdict::Same,
        Some(locked) if now.version > locked.version => Verdict::Writable,
        Some(locked) => {
            let added = now.definitions.iter().find(|definition| !locked.definitions.contains(definition));
            let removed = locked.definitions.iter().find(|definition| !now.definitions.contains(definition));
            let first = added.or(removed).map_or_else(|| "ABI_VERSION itself".to_owned(), Clone::clone);
            Verdict::Unraised { first }
        }
    }
}

impl Abi {
    fn of(sources: &[Source]) -> Result<Self> {
        let mut version = None;
        let mut definitions = Vec::new();
        for source in sources {
            let Some(file) = source.path.strip_prefix("netd-common/src/") else { continue };
            if file == "layout.rs" {
                let after = source.text.split_once(VERSION).map(|(_, after)| after);
                version = after.and_then(|after| after.split_once(';')?.0.trim().parse().ok());
            } else if file != "limits.rs" {
                definitions.extend(definitions_in(&code_only(&source.text)));
            }
        }
        definitions.sort();
        let version = version.with_context(|| format!("netd-common/src/layout.rs has no `{VERSION} N;`"))?;
        Ok(Self { version, definitions })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let version = lines.next()?.strip_prefix("version ")?.parse().ok()?;
        Some(Self { version, definitions: lines.map(str::to_owned).collect() })
    }

    fn to_text(&self) -> String {
        let comment = "# What netd-common's map layouts are at this version; written by `cargo xtask tidy --bless`.";
        format!("{comment}\nversion {}\n{}\n", self.version, self.definitions.join("\n"))
    }
}

/// `repr(C)` structs, and constants of the small integer types: the flags and kinds that stand in map values.
fn definitions_in(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[repr(C)]") {
        if let Some(start) = code[at..].find("pub struct ") {
            found.push(one_line(braced(&code[at + start..])));
        }
    }
    for (at, _) in code.match_indices("\npub const ") {
        let definition = code[at..].split(';').next().unwrap_or_default();
        if ["u8", "u16", "u32"].iter().any(|of| definition.contains(&format!(": {of} ="))) {
            found.push(one_line(definition));
        }
    }
    found
}

fn one_line(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "//! Key.\n#[repr(C)]\n#[derive(Clone)]\npub struct Key {\n    /// Doc.\n    pub a: u32,\n}\n\
                       /// Flag.\npub const INTERNAL: u32 = 1 << 0;\npub const TIMEOUT_NS: u64 = 3;\n";

    fn abi(version: u32, key: &str) -> Abi {
        let layout = format!("{VERSION} {version};");
        let sources = [("netd-common/src/key.rs", key), ("netd-common/src/layout.rs", layout.as_str())];
        let sources = sources.map(|(path, text)| Source { path: path.to_owned(), text: text.to_owned() });
        Abi::of(&sources).expect("a version")
    }

    #[test]
    fn structs_and_flags_are_held_without_comments() {
        assert_eq!(abi(1, KEY).definitions, ["pub const INTERNAL: u32 = 1 << 0", "pub struct Key { pub a: u32, }"]);
    }

    #[test]
    fn the_lock_survives_the_trip() {
        let abi = abi(7, KEY);
        assert_eq!(Abi::parse(&abi.to_text()), Some(abi));
    }

    #[test]
    fn comments_and_timeouts_are_no_change() {
        let other = KEY.replace("Doc", "Other").replace("= 3", "= 4");
        assert_eq!(compare(&abi(1, &other), Some(&abi(1, KEY))), Verdict::Same);
    }

    #[test]
    fn a_changed_layout_needs_a_new_number() {
        let other = KEY.replace("a: u32", "a: u64");
        let first = "pub struct Key { pub a: u64, }".to_owned();
        assert_eq!(compare(&abi(1, &other), Some(&abi(1, KEY))), Verdict::Unraised { first });
        assert_eq!(compare(&abi(2, &other), Some(&abi(1, KEY))), Verdict::Writable);
        assert_eq!(compare(&abi(1, KEY), None), Verdict::Writable);
        let lowered = compare(&abi(1, KEY), Some(&abi(2, KEY)));
        assert_eq!(lowered, Verdict::Unraised { first: "ABI_VERSION itself".to_owned() });
    }
}
