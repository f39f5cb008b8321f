//! Do new connections go on working while something happens?

use super::dial_tcp;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How the attempts went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Successful exchanges, by the server that answered.
    pub answered: BTreeMap<String, u64>,
    /// Failed ones, by the error's text.
    pub failed: BTreeMap<String, u64>,
}

impl Tally {
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.answered.values().sum()
    }

    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Makes one connection after the other to `address` until `stop`.
pub fn hammer(address: SocketAddr, stop: &AtomicBool, attempts: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        match dial_tcp(address) {
            Ok(reply) => *tally.answered.entry(reply.server).or_default() += 1,
            Err(error) => *tally.failed.entry(error.to_string()).or_default() += 1,
        }
        attempts.fetch_add(1, Ordering::Relaxed);
        // Each attempt takes a source port for the minute of its TIME_WAIT.
        std::thread::sleep(Duration::from_millis(2));
    }
    tally
}

/// [`hammer`] on a thread inside a place.
#[derive(Debug)]
pub struct Hammer {
    stop: Arc<AtomicBool>,
    attempts: Arc<AtomicU64>,
    thread: Option<JoinHandle<Tally>>,
}

impl Hammer {
    #[must_use]
    pub fn start(place: &crate::world::Place, address: SocketAddr) -> Self {
        let (stop, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (place, its_stop, its_attempts) = (place.clone(), Arc::clone(&stop), Arc::clone(&attempts));
        let thread = std::thread::spawn(move || place.run(|| hammer(address, &its_stop, &its_attempts)));
        Self { stop, attempts, thread: Some(thread) }
    }

    /// Waits until `count` more attempts have ended.
    #[track_caller]
    pub fn wait_for(&self, count: u64) {
        let goal = self.attempts.load(Ordering::Relaxed) + count;
        crate::wait_until("more connection attempts", crate::seconds(30), || {
            self.attempts.load(Ordering::Relaxed) >= goal
        });
    }

    #[must_use]
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().expect("the hammer")).unwrap_or_default()
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
