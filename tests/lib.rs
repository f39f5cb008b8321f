//! What does a test of the whole of netd need around it?
//!
//! A [`world::World`]: a host, an outside and a netd of their own, made of network namespaces that no other test sees,
//! and gone without a trace afterwards. The machine's own namespace is never touched. Programs that play the clients and
//! servers are in [`probe`], frames that no socket would send in [`frame`].

pub mod frame;
pub mod packet;
pub mod probe;
pub mod watch;
pub mod world;

use std::time::{Duration, Instant};

/// Waits until `condition` holds, looking every 10 ms; panics with `what` when it does not within `timeout`.
#[track_caller]
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    assert!(holds_within(timeout, &mut condition), "not within {timeout:?}: {what}");
}

/// Whether `condition` comes true within `timeout`.
pub fn holds_within(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Seconds, for the many places that wait.
#[must_use]
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
