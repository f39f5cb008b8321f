//! How are flows deleted while packets go on using the table?
//!
//! A pair goes as one, a batch of the table at a time: what is kept in memory is the keys of one batch.

use super::batch;
use netd_common::flow::{Flow, FlowKey};
use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

/// Deletes the flows whose entries `goes` says yes to; both entries of a pair must get the same answer. Returns how many
/// flows that were. One whose packets go on is opened again where a new one would be.
///
/// # Errors
/// When the kernel refuses to read or to delete.
pub fn forget(flows: BorrowedFd<'_>, goes: impl Fn(&FlowKey, &Flow) -> bool) -> io::Result<u64> {
    let mut doomed = Pairs::default();
    let mut forgotten = 0;
    batch::for_each_batch(flows, |keys, entries| {
        for (key, flow) in keys.iter().zip(entries).filter(|(key, flow)| goes(key, flow)) {
            doomed.add(key, flow);
        }
        forgotten += doomed.delete(flows)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(forgotten)
}

/// Pairs that are about to be deleted.
#[derive(Debug, Default)]
pub struct Pairs {
    keys: Vec<FlowKey>,
    known: HashSet<FlowKey>,
}

impl Pairs {
    /// Adds the pair that an entry belongs to, unless its partner has done so.
    pub fn add(&mut self, key: &FlowKey, flow: &Flow) {
        if self.known.insert(*key) {
            let partner = flow.partner_key(key);
            self.known.insert(partner);
            self.keys.extend([*key, partner]);
        }
    }

    /// Deletes them; how many that were.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&mut self, flows: BorrowedFd<'_>) -> io::Result<u64> {
        batch::delete_all(flows, &self.keys)?;
        // A packet that found the one entry while the other was gone already has put that one back.
        batch::delete_all(flows, &self.keys)?;
        let pairs = self.keys.len() as u64 / 2;
        self.keys.clear();
        self.known.clear();
        Ok(pairs)
    }
}
