//! Whose packets are dropped at the uplinks?

use super::Effect;
use crate::model::command::Unblock;
use crate::model::prefix::Prefix;
use crate::model::refusal::Refusal;
use crate::model::state::State;
use netd_common::limits::BLOCKED_MAX;
use std::collections::BTreeSet;

/// Prefixes that a refusal is handed at most; it names fewer and counts the rest.
const INSIDE_MAX: usize = 100;

impl State {
    /// Adds what is not on the list yet. One prefix may lie in another: each stays until it is itself unblocked.
    pub(super) fn block(&mut self, prefixes: &BTreeSet<Prefix>) -> Result<Effect, Refusal> {
        let (has, more) = (self.blocked.len(), prefixes.difference(&self.blocked).count());
        if more == 0 {
            return Ok(Effect::Unchanged);
        }
        if has + more > BLOCKED_MAX {
            return Err(Refusal::BlockListFull { has, more });
        }
        self.blocked.change().extend(prefixes);
        Ok(Effect::Changed)
    }

    pub(super) fn unblock(&mut self, what: &Unblock) -> Result<Effect, Refusal> {
        let before = self.blocked.len();
        match what {
            Unblock::All => self.blocked = BTreeSet::new().into(),
            Unblock::Prefixes(prefixes) => {
                if let Some(prefix) = prefixes.difference(&self.blocked).next() {
                    return Err(self.not_blocked(*prefix));
                }
                if !prefixes.is_empty() {
                    let blocked = self.blocked.change();
                    for prefix in prefixes {
                        blocked.remove(prefix);
                    }
                }
            }
        }
        Ok(if self.blocked.len() == before { Effect::Unchanged } else { Effect::Changed })
    }

    fn not_blocked(&self, prefix: Prefix) -> Refusal {
        let mut around = (0..prefix.length()).rev().filter_map(|length| prefix.within(length));
        let covering = around.find(|shorter| self.blocked.contains(shorter));
        // In the order of the set, what lies in a prefix comes at once behind it.
        let inside = self.blocked.range(prefix..).take_while(|longer| prefix.contains(longer));
        Refusal::NotBlocked { prefix, covering, inside: inside.take(INSIDE_MAX).copied().collect() }
    }
}
