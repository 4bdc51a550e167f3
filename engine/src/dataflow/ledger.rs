//! What is at work, by root. A row counts as long as its multiplicity is not 0: sums over different rows would cancel.

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashMap;

use super::item::{Busy, Place};
use super::{Tick, Update};

/// The `Busy` rows of closed ticks: there the account is exact.
#[derive(Default)]
pub(crate) struct Ledger {
    pending: Vec<Update<Busy>>,
    roots: BTreeMap<u64, HashMap<Busy, isize>>,
}

impl Ledger {
    pub(crate) fn take(&mut self, changes: &mut Vec<Update<Busy>>) {
        self.pending.append(changes);
    }

    /// Applies what happened before `closed`; the roots at which something ended.
    pub(crate) fn advance(&mut self, closed: Tick) -> Vec<u64> {
        let mut ended = Vec::new();
        let due = self.pending.extract_if(.., |(_, at, _)| *at < closed);
        for (busy, _, net) in due {
            let root = busy.place.root;
            let rows = self.roots.entry(root).or_default();
            let row = rows.entry(busy.clone()).or_insert(0);
            *row += net;
            if *row == 0 {
                rows.remove(&busy);
                ended.push(root);
            }
            if rows.is_empty() {
                self.roots.remove(&root);
            }
        }
        ended
    }

    /// The smallest root at work.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.roots.first_key_value().map(|(root, _)| *root)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Whether anything is at work in a place.
    pub(crate) fn holds(&self, place: Place) -> bool {
        self.roots.get(&place.root).is_some_and(|rows| rows.keys().any(|busy| busy.place == place))
    }

    /// Whether a credit has to wait for anything at these roots.
    pub(crate) fn holds_credit(&self, roots: Range<u64>) -> bool {
        self.roots.range(roots).any(|(_, rows)| rows.keys().any(|busy| busy.credited))
    }
}
