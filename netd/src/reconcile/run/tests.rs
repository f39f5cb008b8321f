//! Does the loop do each thing at its time?

use super::*;
use crate::kernel::Error;
use crate::kernel::fake::Fake;
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
}

#[test]
fn looks_are_debounced_and_take_a_fifth_of_the_time_at_most() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut schedule = Schedule::starting_at(start);
    assert_eq!(schedule.look(start), Look::Anew, "at the start");
    schedule.looked(start, at(100));
    assert_eq!(schedule.due(), at(30_100));
    schedule.asked(at(110));
    schedule.asked(at(120));
    assert_eq!(schedule.due(), at(500), "100 ms of looking need 400 ms of rest");
    schedule.looked(at(500), at(501));
    schedule.asked(at(600));
    schedule.asked(at(649));
    assert_eq!(schedule.due(), at(650), "the first word sets the time");
    assert_eq!((schedule.look(at(649)), schedule.look(at(650))), (Look::Remembered, Look::Anew));
}

#[test]
fn the_loop_follows_the_state_heals_drift_and_stops() {
    let kernel = Shared(Arc::new(Mutex::new(Fake { facts: facts(), ..Fake::default() })));
    let (state_sender, states) = watch::channel(Arc::new(state()));
    let (changed_sender, changed) = mpsc::channel(1);
    let (status_sender, mut status) = watch::channel(Arc::new(Status::default()));
    let (facts_sender, told_facts) = watch::channel(Arc::new(NodeFacts::default()));
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
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let mut reached = |revision| {
        let reached = status.wait_for(|status| status.observed_revision >= revision);
        let reached = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), reached).await });
        assert!(reached.unwrap().unwrap().failing.is_empty());
    };
    reached(state_sender.borrow().revision);
    assert_eq!(**told_facts.borrow(), facts());

    // A change of the state does not look at the kernel.
    let looks = kernel.with(|fake| fake.looks);
    let mut next = State::clone(&state_sender.borrow());
    next.apply(&publish("web", &["0.0.0.0:8080:80"]), &context()).unwrap();
    state_sender.send_replace(Arc::new(next));
    reached(state_sender.borrow().revision);
    assert_eq!(kernel.with(|fake| (fake.looks, fake.content.0.publishes.len())), (looks, 1));

    // Drift is seen when netlink says so.
    kernel.with(|fake| fake.content.0.publishes.clear());
    changed_sender.blocking_send(()).unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    while kernel.with(|fake| fake.content.0.publishes.is_empty()) {
        assert!(Instant::now() < patience, "the drift is not healed");
        std::thread::sleep(Duration::from_millis(2));
    }

    stop_sender.send_replace(true);
    thread.join().unwrap();
}
