//! What does one round of the reconciler do, and what does it remember for the next?

use super::changed::parts;
use super::lower::lower;
use super::observed::Observed;
use super::op::{FlowSelector, Op, Phase};
use super::plan::plan;
use super::status::{Object, Owners, Status};
use super::target::Target;
use super::unmet::{lacking, unmet};
use crate::kernel::Kernel;
use crate::model::node::NodeFacts;
use crate::model::state::State;
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A step that failed is tried again after this, then after twice as long each time,
const RETRY_MIN: Duration = Duration::from_millis(100);
/// up to this.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Where a pass takes its knowledge of the kernel from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The steps that were carried out since the last look, if all went well; else the kernel.
    Remembered,
    /// The kernel.
    Anew,
}

/// What a pass came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    /// Steps that the plan had.
    pub planned: usize,
    /// Whether the kernel was looked at.
    pub looked: Look,
}

#[derive(Debug)]
pub struct Reconciler<K> {
    kernel: K,
    netns_dir: PathBuf,
    facts: Arc<NodeFacts>,
    /// None: to be looked at anew.
    observed: Option<Observed>,
    failures: BTreeMap<Object, Failure>,
    /// What was asked for and is not there to be had, by object.
    unmet: BTreeMap<Object, String>,
    /// Flows that should be forgotten, and are not yet: the entries that told of them are gone already.
    unpurged: BTreeSet<FlowSelector>,
    /// That of the last pass: removed objects still have a name in it.
    previous: Arc<State>,
    /// That of the last pass which knew what the kernel holds.
    observed_revision: u64,
    /// Passes in a row that could not read the kernel, and when to try again.
    blind: Option<(u32, Instant)>,
}

/// An object that is not as it should be.
#[derive(Clone, Debug)]
struct Failure {
    /// Of the first step that failed; later ones fail because of it.
    reason: String,
    ops: Vec<Op>,
    attempts: u32,
    /// Not to be tried again before.
    due: Instant,
}

impl<K: Kernel> Reconciler<K> {
    pub fn new(kernel: K, netns_dir: PathBuf) -> Self {
        Self {
            kernel,
            netns_dir,
            facts: Arc::default(),
            observed: None,
            failures: BTreeMap::new(),
            unmet: BTreeMap::new(),
            unpurged: BTreeSet::new(),
            previous: Arc::default(),
            observed_revision: 0,
            blind: None,
        }
    }

    /// What this node was when it was looked at last.
    pub const fn facts(&self) -> &Arc<NodeFacts> {
        &self.facts
    }

    /// When the next pass should come at the latest to try again what failed.
    pub fn retry_due(&self) -> Option<Instant> {
        let blind = self.blind.map(|(_, due)| due);
        self.failures.values().map(|failure| failure.due).chain(blind).min()
    }

    /// Whether steps of former passes are to be finished.
    pub fn is_unsettled(&self) -> bool {
        self.kernel.is_unsettled()
    }

    /// Finishes one of them.
    ///
    /// # Errors
    /// As [`Kernel::settle`].
    pub fn settle(&mut self) -> Result<(), crate::kernel::Error> {
        self.kernel.settle()
    }

    /// Brings the kernel to `state`, as far as it lets itself be brought.
    pub fn pass(&mut self, state: &Arc<State>, look: Look, now: Instant) -> Outcome {
        // Who is told that the host lacks something may have added it a moment ago.
        let is_news = |unmet: &BTreeMap<Object, String>| unmet.keys().any(|object| !self.unmet.contains_key(object));
        let parts = self.parts(state);
        let compared = parts.as_ref().map_or(state.as_ref(), |(_, after)| after);
        let look = if is_news(&lacking(compared, &self.facts)) { Look::Anew } else { look };
        let (mut observed, looked) = match (self.observed.take(), look) {
            (Some(observed), Look::Remembered) => (observed, Look::Remembered),
            (None, _) | (Some(_), Look::Anew) => match self.look() {
                Ok(observed) => (observed, Look::Anew),
                Err(error) => return self.blind(&error, now),
            },
        };
        self.blind = None;
        let parts = parts.filter(|_| looked == Look::Remembered);
        let mut ops = match (&parts, looked) {
            (Some((before, after)), _) => plan(&self.lowered(after), &Observed(self.lowered(before))),
            (None, Look::Remembered) => plan(&self.lowered(state), &observed),
            (None, Look::Anew) => {
                let target = self.lowered(state);
                observed.share(&target);
                plan(&target, &observed)
            }
        };
        self.add_unpurged(&mut ops);
        let planned = ops.len();
        self.note_unmet(match &parts {
            Some((before, after)) => self.unmet_after(before, after),
            None => unmet(state, &self.facts),
        });
        let all_done = self.carry_out(ops, &mut observed, state, now);
        // What a step that failed has left behind is not known.
        self.observed = all_done.then_some(observed);
        self.previous = Arc::clone(state);
        self.observed_revision = state.revision;
        Outcome { status: self.status(), planned, looked }
    }

    fn lowered(&self, state: &State) -> Target {
        lower(state, &self.facts, &self.netns_dir)
    }

    /// What has changed since the last pass, when that left the kernel as it should be.
    fn parts(&self, state: &State) -> Option<(State, State)> {
        // Steps that wait to be tried again are not in the kernel.
        let is_settled = self.observed.is_some() && self.failures.is_empty();
        is_settled.then(|| parts(&self.previous, state)).flatten()
    }

    /// What is still unmet, when nothing but these parts of the state has changed.
    fn unmet_after(&self, before: &State, after: &State) -> BTreeMap<Object, String> {
        let is_in = |object: &Object, part: &State| match object {
            Object::Container(name) => part.containers.contains_key(name),
            Object::Network(name) => part.networks.contains_key(name),
            Object::Publish(key) => part.publishes.contains_key(key),
            Object::Uplink(_) | Object::BlockList | Object::Node => false,
        };
        let elsewhere = self.unmet.iter().filter(|(object, _)| !is_in(object, before) && !is_in(object, after));
        let mut all: BTreeMap<_, _> = elsewhere.map(|(object, reason)| (object.clone(), reason.clone())).collect();
        all.extend(unmet(after, &self.facts));
        all
    }

    fn look(&mut self) -> Result<Observed, crate::kernel::Error> {
        let facts = self.kernel.facts()?;
        if facts != *self.facts {
            self.facts = Arc::new(facts);
        }
        self.kernel.observe()
    }

    /// Without knowing what is there nothing can be done; the revision stays where it was.
    fn blind(&mut self, error: &crate::kernel::Error, now: Instant) -> Outcome {
        let attempts = self.blind.map_or(0, |(attempts, _)| attempts) + 1;
        tracing::error!(attempts, "the kernel's content is not readable: {error}");
        self.blind = Some((attempts, now + backoff(attempts)));
        let mut status = self.status();
        status.failing.insert(Object::Node, error.to_string());
        Outcome { status, planned: 0, looked: Look::Anew }
    }

    fn status(&self) -> Status {
        let mut failing = self.unmet.clone();
        failing.extend(self.failures.iter().map(|(object, failure)| (object.clone(), failure.reason.clone())));
        Status { observed_revision: self.observed_revision, failing }
    }

    fn note_unmet(&mut self, unmet: BTreeMap<Object, String>) {
        for (object, reason) in unmet.iter().filter(|(object, reason)| self.unmet.get(object) != Some(reason)) {
            tracing::warn!(?object, "not ready: {reason}");
        }
        for object in self.unmet.keys().filter(|object| !unmet.contains_key(object)) {
            tracing::info!(?object, "has all it asked for");
        }
        self.unmet = unmet;
    }

    fn add_unpurged(&self, ops: &mut Vec<Op>) {
        if self.unpurged.is_empty() {
            return;
        }
        let mut selectors = self.unpurged.clone();
        ops.retain(|op| {
            let Op::PurgeFlows(more) = op else { return true };
            selectors.extend(more.iter().cloned());
            false
        });
        let at = ops.partition_point(|op| op.phase() <= Phase::PurgeFlows);
        ops.insert(at, Op::PurgeFlows(selectors.into_iter().collect()));
    }

    /// Does each step, goes on after a failure. False when a step was tried and failed.
    fn carry_out(&mut self, ops: Vec<Op>, observed: &mut Observed, state: &State, now: Instant) -> bool {
        let mut failures = Failures::begin(std::mem::take(&mut self.failures), now);
        // Made when they are needed: nearly always nothing fails.
        let (previous, netns_dir) = (Arc::clone(&self.previous), &self.netns_dir);
        let owners = LazyCell::new(|| [state, &previous].map(|state| Owners::of(state, netns_dir)));
        let object_of = |op: &Op| owners.iter().find_map(|owners| owners.object_of(op));
        for op in ops {
            if failures.any_old() && failures.waits(&op, object_of(&op)) {
                continue;
            }
            match self.kernel.apply(&op) {
                Ok(()) => {
                    tracing::debug!(?op, "done");
                    observed.apply(&op);
                    if let Op::PurgeFlows(_) = op {
                        self.unpurged.clear();
                    }
                }
                Err(error) => {
                    match &op {
                        Op::PurgeFlows(selectors) => self.unpurged.extend(selectors.iter().cloned()),
                        Op::PurgeSources(addresses) => {
                            self.unpurged.extend(addresses.iter().copied().map(FlowSelector::Source));
                        }
                        _ => {}
                    }
                    failures.add(object_of(&op), op, &error);
                }
            }
        }
        let all_done = failures.tried.is_empty();
        self.failures = failures.settle();
        all_done
    }
}

/// The failures of the last pass, and how they become those of this one.
struct Failures {
    old: BTreeMap<Object, Failure>,
    new: BTreeMap<Object, Failure>,
    /// Objects of which a step was tried in this pass and failed.
    tried: BTreeSet<Object>,
    now: Instant,
}

impl Failures {
    fn begin(old: BTreeMap<Object, Failure>, now: Instant) -> Self {
        Self { old, new: BTreeMap::new(), tried: BTreeSet::new(), now }
    }

    fn any_old(&self) -> bool {
        !self.old.is_empty()
    }

    /// Whether this very step has failed and is not due yet. Then the object goes on failing.
    fn waits(&mut self, op: &Op, object: Option<Object>) -> bool {
        let Some(object) = object.or_else(|| self.owner_before(op)) else { return false };
        match self.old.get(&object) {
            Some(failure) if failure.due > self.now && failure.ops.contains(op) => {
                self.new.entry(object).or_insert_with(|| failure.clone());
                true
            }
            Some(_) | None => false,
        }
    }

    /// To whom a step belonged that is about nothing of this state nor of the last one.
    fn owner_before(&self, op: &Op) -> Option<Object> {
        self.old.iter().find(|(_, failure)| failure.ops.contains(op)).map(|(object, _)| object.clone())
    }

    fn add(&mut self, object: Option<Object>, op: Op, error: &crate::kernel::Error) {
        let object = object.or_else(|| self.owner_before(&op)).unwrap_or(Object::Node);
        let reason = error.to_string();
        let attempts = self.old.get(&object).map_or(0, |failure| failure.attempts);
        if attempts == 0 && self.tried.insert(object.clone()) {
            tracing::warn!(?object, "not ready: {reason}");
        } else {
            self.tried.insert(object.clone());
            tracing::debug!(?object, "still not ready: {reason}");
        }
        let now = self.now;
        let first = || Failure { reason, ops: Vec::new(), attempts, due: now };
        self.new.entry(object).or_insert_with(first).ops.push(op);
    }

    fn settle(mut self) -> BTreeMap<Object, Failure> {
        for (object, failure) in &mut self.new {
            if self.tried.contains(object) {
                failure.attempts += 1;
                failure.due = self.now + backoff(failure.attempts);
            }
        }
        for object in self.old.keys().filter(|object| !self.new.contains_key(object)) {
            tracing::info!(?object, "ready again");
        }
        self.new
    }
}

/// How long to wait after so many attempts.
fn backoff(attempts: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests;
