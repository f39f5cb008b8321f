//! Does a module of netd use only what stands below it?

use super::Source;
use super::code::{before_tests, code_only, line_number};

/// The layers of netd, lowest first. `reconcile` has two floors: its functions are below the kernel's door, its loop is
/// above it.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["config", "joined", "resolv_conf", "tuple"],
    // The process's own surroundings: they know settings and nothing of networks.
    &["instance", "logging", "notify"],
    &[
        "reconcile::lower",
        "reconcile::plan",
        "reconcile::op",
        "reconcile::parent",
        "reconcile::pool",
        "reconcile::unmet",
        "reconcile::changed",
        "reconcile::target",
        "reconcile::observed",
        "reconcile::status",
    ],
    &["store", "kernel"],
    &["reconcile", "names", "events", "metrics", "files", "shortage"],
    &["api"],
    &["daemon"],
    &["check", "cleanup"],
];

pub fn breaches(source: &Source) -> Vec<String> {
    let Some(own) = module(&source.path) else { return Vec::new() };
    let Some(own_layer) = layer(&own) else {
        return vec![format!(
            "{}:1: module {own} stands on no layer; give it one in xtask/src/tidy/layers.rs",
            source.path
        )];
    };
    let code = code_only(before_tests(&source.text));
    let mut found = Vec::new();
    for (at, used) in uses(&code, &own) {
        let is_below = match layer(&used) {
            Some(layer) => layer < own_layer || (layer == own_layer && first(&used) == first(&own)),
            // A name of `lib.rs` itself: no module.
            None => true,
        };
        if !is_below {
            let line = line_number(&code, at);
            found.push(format!("{}:{line}: {own} uses {used}, which does not stand below it", source.path));
        }
    }
    found
}

/// `netd/src/reconcile/plan.rs` is `reconcile::plan`. The crate's root, the programs and a module's own `mod.rs` of
/// `reconcile`, which only lists the two floors, stand outside of the order.
fn module(path: &str) -> Option<String> {
    let path = path.strip_prefix("netd/src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" || path == "reconcile" || path.starts_with("bin/") {
        return None;
    }
    Some(path.replace('/', "::"))
}

fn layer(module: &str) -> Option<usize> {
    let mut parts = module.splitn(3, "::");
    let first = parts.next().unwrap_or_default();
    let two = format!("{first}::{}", parts.next().unwrap_or_default());
    let find = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    find(&two).or_else(|| find(first))
}

fn first(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// Every module path that the code names by `crate::` or `super::`, with its place.
fn uses(code: &str, own: &str) -> Vec<(usize, String)> {
    let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut found = Vec::new();
    for (start, base) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in code.match_indices(start) {
            // `super::super::` is left to the inner `super::`, which then looks one level too deep: it finds no module.
            for tree in trees(&code[at + start.len()..]) {
                let path = if base.is_empty() { tree } else { format!("{base}::{tree}") };
                found.push((at, path));
            }
        }
    }
    found
}

/// The paths of a use tree: `a::{b::C, d}` is `a::b::C` and `a::d`.
fn trees(text: &str) -> Vec<String> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        return members(inner).into_iter().flat_map(trees).collect();
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Vec::new();
    }
    match rest.strip_prefix("::") {
        Some(rest) => {
            let below = trees(rest);
            if below.is_empty() {
                return vec![name.to_owned()];
            }
            below.into_iter().map(|path| format!("{name}::{path}")).collect()
        }
        None => vec![name.to_owned()],
    }
}

/// What stands between commas up to the brace that closes the group.
fn members(inner: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut start = 0;
    let mut members = Vec::new();
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&inner[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_of(path: &str, text: &str) -> Vec<String> {
        breaches(&Source { path: format!("netd/src/{path}"), text: text.to_owned() })
    }

    #[test]
    fn use_trees_are_spread_out() {
        assert_eq!(trees("a::{b::C, d::{E, F}, G};"), ["a::b::C", "a::d::E", "a::d::F", "a::G"]);
        assert_eq!(trees("a::*;"), ["a"]);
    }

    #[test]
    fn what_stands_below_may_be_used() {
        assert!(breaches_of("kernel/mod.rs", "use crate::reconcile::{op::Op, observed::Observed};").is_empty());
        assert!(breaches_of("reconcile/run.rs", "use super::plan::plan;\nuse crate::kernel::Kernel;").is_empty());
        assert!(breaches_of("api/mod.rs", "use crate::{model::state::State, reconcile::status::Status};").is_empty());
        assert!(breaches_of("daemon.rs", "use crate::api::Api;").is_empty());
        assert!(breaches_of("lib.rs", "pub use crate::daemon::run;").is_empty());
    }

    #[test]
    fn what_stands_above_or_beside_may_not() {
        for (path, text) in [
            ("model/command.rs", "use crate::kernel::facts::NodeFacts;"),
            ("reconcile/plan.rs", "use super::run::Loop;"),
            ("kernel/linux.rs", "use crate::reconcile::{op::Op, run::Loop};"),
            ("store/mod.rs", "use crate::kernel::Kernel;"),
            ("reconcile/run.rs", "fn f() { crate::api::x() }"),
        ] {
            assert_eq!(breaches_of(path, text).len(), 1, "{path}: {text}");
        }
        assert_eq!(breaches_of("newcomer.rs", "").len(), 1, "a module without a layer");
    }

    #[test]
    fn tests_may_use_what_they_like() {
        let text = "use crate::model::x;\n#[cfg(test)]\nmod tests { use crate::daemon::y; }";
        assert!(breaches_of("store/mod.rs", text).is_empty());
    }
}
