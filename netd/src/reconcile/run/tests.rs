//! Does the loop do each thing at its time?

use super::*;
use crate::kernel::Error;
use crate::kernel::fake::{Fake, Faults};
use crate::model::testing::{context, facts, publish, state};
use crate::reconcile::observed::Observed;
use crate::reconcile::op::Op;
use std::sync::{Mutex, PoisonError};

/// A kernel that the test and the loop share.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Fake>>);

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut Fake) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kernel for Shared {
    fn facts(&mut self) -> Result<NodeFacts, Error> {
        self.with(Kernel::facts)
    }

    fn observe(&mut self) -> Result<Observed, Error> {
        self.with(Kernel::observe)
    }

    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        self.with(|fake| fake.apply(op))
    }

    fn is_unsettled(&self) -> bool {
        self.with(|fake| fake.is_unsettled())
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.with(Kernel::settle)
    }
}

#[test]
fn looks_are_debounced_and_take_a_tenth_of_the_time_at_most() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut schedule = Schedule::starting_at(start);
    assert_eq!(schedule.look(start), Look::Anew, "at the start");
    schedule.looked(start, at(100));
    assert_eq!(schedule.due(), at(30_100));
    schedule.asked(at(110));
    schedule.asked(at(120));
    assert_eq!(schedule.due(), at(1_000), "100 ms of looking need 900 ms of rest");
    schedule.looked(at(1_000), at(1_001));
    schedule.asked(at(1_100));
    schedule.asked(at(1_149));
    assert_eq!(schedule.due(), at(1_150), "the first word sets the time");
    assert_eq!((schedule.look(at(1_149)), schedule.look(at(1_150))), (Look::Remembered, Look::Anew));
}

/// A loop that runs, and the other ends of its wiring.
struct Running {
    kernel: Shared,
    state: watch::Sender<Arc<State>>,
    changed: mpsc::Sender<()>,
    status: watch::Receiver<Arc<Status>>,
    facts: watch::Receiver<Arc<NodeFacts>>,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    fn start(fake: Fake) -> Self {
        let kernel = Shared(Arc::new(Mutex::new(fake)));
        let (state, states) = watch::channel(Arc::new(state()));
        let (changed_sender, changed) = mpsc::channel(1);
        let (status_sender, status) = watch::channel(Arc::new(Status::default()));
        let (facts_sender, facts) = watch::channel(Arc::new(NodeFacts::default()));
        let (stop_sender, stop) = watch::channel(false);
        let wiring = Wiring {
            state: states,
            changed,
            status: status_sender,
            facts: facts_sender,
            stop,
            netns_dir: "/run/netns".into(),
        };
        let thread = std::thread::spawn({
            let kernel = kernel.clone();
            move || run(kernel, wiring)
        });
        Self { kernel, state, changed: changed_sender, status, facts, stop: stop_sender, thread }
    }

    /// Waits until a pass has brought the kernel to the state, whole.
    fn reach(&self) {
        let revision = self.state.borrow().revision;
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let mut status = self.status.clone();
        let reached = status.wait_for(|status| status.observed_revision >= revision);
        let reached = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), reached).await });
        assert!(reached.unwrap().unwrap().failing.is_empty());
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Fake) -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !self.kernel.with(|fake| condition(fake)) {
            assert!(Instant::now() < patience, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(self) {
        self.stop.send_replace(true);
        self.thread.join().unwrap();
    }
}

#[test]
fn steps_are_finished_when_nothing_is_changed_any_more() {
    let running = Running::start(Fake { facts: facts(), ..Fake::default() });
    running.reach();
    let (steps, looks) = running.kernel.with(|fake| (fake.done.len(), fake.looks));
    running.wait_until("what is to be finished is not", |fake| fake.settles > 0 && fake.unsettled == 0);
    assert_eq!(running.kernel.with(|fake| (fake.done.len(), fake.looks)), (steps, looks), "that is no pass");
    running.stop();
}

#[test]
fn a_step_that_cannot_be_finished_is_not_tried_all_the_time() {
    let faults = Faults { is_restless: true, ..Faults::default() };
    let running = Running::start(Fake { facts: facts(), faults, ..Fake::default() });
    running.wait_until("it is not tried", |fake| fake.settles > 0);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(running.kernel.with(|fake| fake.settles), 1);
    running.stop();
}

#[test]
fn the_loop_follows_the_state_heals_drift_and_stops() {
    let running = Running::start(Fake { facts: facts(), ..Fake::default() });
    let (kernel, state_sender) = (&running.kernel, &running.state);
    running.reach();
    assert_eq!(**running.facts.borrow(), facts());

    // A change of the state does not look at the kernel.
    let looks = kernel.with(|fake| fake.looks);
    let mut next = State::clone(&state_sender.borrow());
    next.apply(&publish("web", &["0.0.0.0:8080:80"]), &context()).unwrap();
    state_sender.send_replace(Arc::new(next));
    running.reach();
    assert_eq!(kernel.with(|fake| (fake.looks, fake.content.0.publishes.len())), (looks, 1));

    // Drift is seen when netlink says so.
    kernel.with(|fake| fake.content.0.publishes.clear());
    running.changed.blocking_send(()).unwrap();
    running.wait_until("the drift is not healed", |fake| !fake.content.0.publishes.is_empty());
    running.stop();
}
