//! When is the kernel looked at and changed?
//!
//! A change of the state is carried out at once. A word from netlink is not: it comes in crowds, netd's own steps cause
//! it too, and a look at the kernel costs time. So a look waits a moment for the rest of the crowd, and then for as long
//! as keeps all looks below a tenth of the time. What steps have left to be finished is finished when nothing was changed
//! for a moment, for half of the time: it holds the lock of the machine's network configuration.

use super::pass::{Look, Reconciler};
use super::status::Status;
use crate::kernel::{Kernel, memory};
use crate::model::node::NodeFacts;
use crate::model::state::State;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

/// How long a word from netlink waits for more.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// After a look, this many times what it took is left to other things.
const REST_AFTER_LOOK: u32 = 9;
/// The kernel is looked at this often although nobody said that it changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Steps are finished this long after the last of them.
const QUIET: Duration = Duration::from_millis(500);
/// One that cannot be finished is tried again after this.
const SETTLE_RETRY: Duration = Duration::from_secs(30);

/// All that the loop listens to and tells.
#[derive(Debug)]
pub struct Wiring {
    pub state: watch::Receiver<Arc<State>>,
    /// Netlink saw a change.
    pub changed: mpsc::Receiver<()>,
    pub status: watch::Sender<Arc<Status>>,
    pub facts: watch::Sender<Arc<NodeFacts>>,
    /// Becomes true when the loop should end.
    pub stop: watch::Receiver<bool>,
    /// Folder of namespaces, `/run/netns`.
    pub netns_dir: std::path::PathBuf,
}

/// Keeps the kernel in step until told to stop. Blocks: give it a thread of its own.
pub fn run<K: Kernel>(kernel: K, mut wiring: Wiring) {
    // Only the waiting is async: a kernel may well have a runtime of its own, and they must not nest.
    let runtime = match Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("the reconciler has no runtime: {error}"),
    };
    let mut reconciler = Reconciler::new(kernel, wiring.netns_dir.clone());
    let mut schedule = Schedule::starting_at(Instant::now());
    let mut is_first = true;
    loop {
        let begun = Instant::now();
        let look = schedule.look(begun);
        if look == Look::Anew {
            // What they say is about to be seen.
            while wiring.changed.try_recv().is_ok() {}
        }
        let state = wiring.state.borrow_and_update().clone();
        let outcome = reconciler.pass(&state, look, begun);
        if outcome.looked == Look::Anew {
            schedule.looked(begun, Instant::now());
        }
        if outcome.planned > 0 {
            schedule.settle_due = Instant::now() + QUIET;
        }
        if is_first {
            tracing::info!(revision = state.revision, "start: {} steps planned", outcome.planned);
            is_first = false;
        }
        tracing::debug!(revision = state.revision, planned = outcome.planned, took = ?begun.elapsed(), "pass");
        tell(&wiring.facts, reconciler.facts());
        tell(&wiring.status, &Arc::new(outcome.status));
        if outcome.looked == Look::Anew {
            // A look takes far more memory than what is kept of it. When nobody waits for this thread.
            memory::give_back();
        }
        loop {
            let settle_due = reconciler.is_unsettled().then_some(schedule.settle_due);
            match runtime.block_on(wait(&mut wiring, &mut schedule, reconciler.retry_due(), settle_due)) {
                Wake::Pass => break,
                Wake::Settle => schedule.settle_due = settle(&mut reconciler),
                Wake::Stop => return,
            }
        }
    }
}

/// Finishes a step; returns when the next may be.
fn settle<K: Kernel>(reconciler: &mut Reconciler<K>) -> Instant {
    let begun = Instant::now();
    if let Err(error) = reconciler.settle() {
        tracing::warn!("it works, but not as it should for good: {error}");
        return Instant::now() + SETTLE_RETRY;
    }
    Instant::now() + begun.elapsed()
}

fn tell<T: PartialEq>(news: &watch::Sender<Arc<T>>, value: &Arc<T>) {
    news.send_if_modified(|told| {
        let differs = told != value;
        if differs {
            *told = Arc::clone(value);
        }
        differs
    });
}

/// When the kernel is looked at next.
#[derive(Debug)]
struct Schedule {
    /// The regular look.
    interval_due: Instant,
    /// The look that netlink asked for.
    asked_due: Option<Instant>,
    /// Not before.
    rested: Instant,
    /// Nor is a step finished before.
    settle_due: Instant,
    is_netlink_open: bool,
}

impl Schedule {
    const fn starting_at(now: Instant) -> Self {
        Self { interval_due: now, asked_due: None, rested: now, settle_due: now, is_netlink_open: true }
    }

    fn look(&self, now: Instant) -> Look {
        if self.due() <= now { Look::Anew } else { Look::Remembered }
    }

    fn due(&self) -> Instant {
        self.asked_due.map_or(self.interval_due, |asked| asked.min(self.interval_due))
    }

    /// Netlink says that something changed. The first word of a crowd sets the time.
    fn asked(&mut self, now: Instant) {
        self.asked_due.get_or_insert((now + DEBOUNCE).max(self.rested));
    }

    fn looked(&mut self, begun: Instant, ended: Instant) {
        self.asked_due = None;
        self.interval_due = ended + LOOK_INTERVAL;
        self.rested = ended + ended.saturating_duration_since(begun) * REST_AFTER_LOOK;
    }
}

/// Why the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Pass,
    Settle,
    Stop,
}

/// Until the state has changed, a look, a retry or a step's end is due, or the end has come. A peer that is gone is the end
/// too, except netlink: without it drift is still found by the regular look.
async fn wait(
    wiring: &mut Wiring,
    schedule: &mut Schedule,
    retry_due: Option<Instant>,
    settle_due: Option<Instant>,
) -> Wake {
    loop {
        let due = retry_due.map_or(schedule.due(), |retry| retry.min(schedule.due()));
        tokio::select! {
            biased;
            _ = wiring.stop.wait_for(|stop| *stop) => return Wake::Stop,
            changed = wiring.state.changed() => {
                return if changed.is_ok() { Wake::Pass } else { Wake::Stop };
            }
            word = wiring.changed.recv(), if schedule.is_netlink_open && schedule.asked_due.is_none() => match word {
                Some(()) => schedule.asked(Instant::now()),
                None => schedule.is_netlink_open = false,
            },
            () = tokio::time::sleep_until(due.into()) => return Wake::Pass,
            () = tokio::time::sleep_until(settle_due.unwrap_or(due).into()), if settle_due.is_some() => return Wake::Settle,
        }
    }
}

#[cfg(test)]
mod tests;
