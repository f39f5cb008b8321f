//! What does a test ask of `netctl`?

use super::{Finished, World, binary};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

impl World {
    /// Runs `netctl` on the host, as a user would.
    pub fn netctl<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Finished {
        let mut all: Vec<OsString> = vec![binary("netctl").into(), "--socket".into(), self.socket().into()];
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.host.exec(all)
    }

    /// Runs a `netctl` that must succeed; its standard output.
    #[track_caller]
    pub fn netctl_ok<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let finished = self.netctl(&words);
        assert!(finished.is_ok(), "netctl {words:?} failed: {finished}");
        finished.stdout
    }

    /// Runs a `netctl` that must be refused: exit code 1 and one line of error, which is returned.
    #[track_caller]
    pub fn netctl_refused<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let finished = self.netctl(&words);
        assert_eq!(finished.code, 1, "netctl {words:?} should be refused: {finished}");
        let line = finished.stderr.trim_end().to_owned();
        assert!(!line.is_empty() && !line.contains('\n'), "netctl {words:?} should say one line: {finished}");
        line
    }

    /// Runs a `netctl` that must succeed, for its JSON.
    #[track_caller]
    pub fn netctl_json<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Value {
        let mut all: Vec<OsString> = vec!["-o".into(), "json".into()];
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        let text = self.netctl_ok(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("netctl {all:?}: {error} in {text}"))
    }

    /// All counters of the datapath.
    #[must_use]
    #[track_caller]
    pub fn counters(&self) -> Counters {
        let rows = self.netctl_json(["stats"]);
        let rows = rows.as_array().unwrap_or_else(|| panic!("stats are not an array: {rows}"));
        let text = |row: &Value, field: &str| row[field].as_str().expect("a name").to_owned();
        let count = |row: &Value| row["packets"].as_u64().expect("a number of packets");
        Counters(rows.iter().map(|row| ((text(row, "hook"), text(row, "outcome")), count(row))).collect())
    }

    /// Packets that `hook` counted as `outcome` so far.
    #[must_use]
    #[track_caller]
    pub fn counter(&self, hook: &str, outcome: &str) -> u64 {
        self.counters().of(hook, outcome)
    }

    /// Tracked connections, as `netctl flow ls` shows them.
    #[must_use]
    #[track_caller]
    pub fn flows(&self) -> Vec<Value> {
        self.netctl_json(["flow", "ls"]).as_array().cloned().expect("an array of flows")
    }
}

/// Packets by hook and outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub BTreeMap<(String, String), u64>);

impl Counters {
    #[must_use]
    pub fn of(&self, hook: &str, outcome: &str) -> u64 {
        self.0.get(&(hook.to_owned(), outcome.to_owned())).copied().unwrap_or(0)
    }

    /// All that `hook` counted, whatever became of it.
    #[must_use]
    pub fn all_of(&self, hook: &str) -> u64 {
        self.0.iter().filter(|((counted, _), _)| counted == hook).map(|(_, packets)| packets).sum()
    }

    /// What was counted since `before`; outcomes that did not move are not in it.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let moved = self.0.iter().map(|(key, packets)| (key.clone(), packets - before.0.get(key).unwrap_or(&0)));
        Self(moved.filter(|(_, packets)| *packets != 0).collect())
    }

    /// Drops of `hook`, by reason.
    #[must_use]
    pub fn drops_of(&self, hook: &str) -> BTreeMap<&str, u64> {
        let dropped = |outcome: &str| !["passed", "redirected", "answered"].contains(&outcome);
        let rows = self.0.iter().filter(|((counted, outcome), _)| counted == hook && dropped(outcome));
        rows.map(|((_, outcome), packets)| (outcome.as_str(), *packets)).collect()
    }
}

/// Whether the counter moves by at least `packets` within two seconds of `before`.
#[must_use]
pub fn is_counted(world: &World, before: &Counters, hook: &str, outcome: &str, packets: u64) -> bool {
    crate::holds_within(crate::seconds(2), || world.counters().since(before).of(hook, outcome) >= packets)
}
