//! How does a container find its peers by name?
//!
//! ```text
//!   program ──127.0.0.11:53──► sock_addr ──127.0.0.11:PORT──► server ──► answer(query, View) ──► own names: answered
//!                              (NAMES)       in its namespace                │
//!                                                                            └─► others': forward, from the host's
//!                                                                                namespace, to --dns or the host's servers
//! ```
//!
//! Each container has sockets of its own, so the socket says who asks, and nothing is guessed from addresses. [`zone`] and
//! [`answer`] are pure. An answer is made of the newest state, whose index is made again when its revision has changed:
//! what a command has changed is seen by the first question after it.
//!
//! Names of others never hide a peer's, and a peer's never leave: a name without a dot, or one that ends in the name of an
//! own network, is answered here or by nobody.

pub mod answer;
pub mod forward;
pub mod server;
pub mod upstreams;
pub mod zone;

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the questions since this agent started.
#[derive(Debug, Default)]
pub struct Counts {
    counts: [AtomicU64; Fate::ALL.len()],
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// By netd itself, be it that there is no such name.
    Answered,
    /// By somebody else's server, which netd asked.
    Forwarded,
    /// Nobody was asked: it was no question that a name server answers.
    Refused,
    /// Nobody answered, or nobody may be asked, or too many were waiting.
    Failed,
}

impl Fate {
    pub const ALL: [Self; 4] = [Self::Answered, Self::Forwarded, Self::Refused, Self::Failed];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Counts {
    pub fn add(&self, fate: Fate) {
        if let Some(count) = self.counts.get(fate as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each with its count.
    pub fn all(&self) -> impl Iterator<Item = (Fate, u64)> {
        Fate::ALL.into_iter().zip(&self.counts).map(|(fate, count)| (fate, count.load(Ordering::Relaxed)))
    }
}
