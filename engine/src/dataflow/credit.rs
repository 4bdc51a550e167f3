//! Credits: how much may be between a source, or the gate of the turn loop, and the sinks.

use std::collections::{BTreeMap, VecDeque};

use super::Tick;
use super::ledger::Ledger;

/// How much may be outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) records: usize,
    /// Bytes of the records as they came in.
    pub(crate) bytes: u64,
}

/// What is outstanding. **Invariant**: never more than the limit, but for a single record: one that is larger, or one that comes
/// before all others, which may wait for it.
///
/// A credit is taken for a root and comes back when nothing is at work at it any more, whatever became of the record: however
/// it was split on the way, filtered or set aside. Going around the turn loop takes none, so the loop cannot starve.
pub(crate) struct Window {
    limit: Limit,
    /// Roots that one record takes, from a multiple of it on: the n-th dialogue that it begins is n roots further.
    span: u64,
    taken: BTreeMap<u64, Taken>,
    bytes: u64,
    /// Roots taken at ticks that are not closed yet: what is at work at them is not known.
    entering: VecDeque<(Tick, u64)>,
}

struct Taken {
    bytes: u64,
    /// Ticks at which it entered that are not closed yet.
    entering: usize,
}

impl Window {
    pub(crate) fn new(limit: Limit, span: u64) -> Self {
        Window { limit, span, taken: BTreeMap::new(), bytes: 0, entering: VecDeque::new() }
    }

    /// Takes a credit, if there is one; a root that has one already needs no other.
    pub(crate) fn take(&mut self, root: u64, bytes: u64, at: Tick) -> bool {
        if let Some(taken) = self.taken.get_mut(&root) {
            taken.entering += 1;
        } else {
            let free = self.taken.len() < self.limit.records && self.bytes + bytes <= self.limit.bytes;
            let first = self.taken.first_key_value().is_none_or(|(other, _)| root < *other);
            let is_one_more = self.taken.len() <= self.limit.records && self.bytes <= self.limit.bytes;
            if !free && !(first && (is_one_more || self.taken.is_empty())) {
                return false;
            }
            self.bytes += bytes;
            self.taken.insert(root, Taken { bytes, entering: 1 });
        }
        self.entering.push_back((at, root));
        true
    }

    /// Gives back the credits of roots at which nothing is at work, of those that entered before `closed` or at which
    /// something has `ended`. Whether there were any.
    pub(crate) fn settle(&mut self, closed: Tick, ended: &[u64], ledger: &Ledger) -> bool {
        let before = self.taken.len();
        while let Some((_, root)) = self.entering.front().copied().filter(|(at, _)| *at < closed) {
            self.entering.pop_front();
            if let Some(taken) = self.taken.get_mut(&root) {
                taken.entering -= 1;
            }
            self.give_back(root, ledger);
        }
        for root in ended {
            self.give_back(root - root % self.span, ledger);
        }
        self.taken.len() < before
    }

    fn give_back(&mut self, root: u64, ledger: &Ledger) {
        let enters = self.taken.get(&root).is_none_or(|taken| taken.entering > 0);
        if !enters && !ledger.holds_credit(root..root + self.span) {
            self.bytes -= self.taken.remove(&root).map_or(0, |taken| taken.bytes);
        }
    }

    /// Records and bytes that are outstanding.
    pub(crate) fn outstanding(&self) -> (usize, u64) {
        (self.taken.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::{Busy, Place};
    use super::*;

    fn busy(root: u64, net: isize, at: Tick) -> (Busy, Tick, isize) {
        (Busy { place: Place { root, lap: 0 }, what: 0, credited: true }, at, net)
    }

    #[test]
    fn credits_come_back_when_nothing_of_a_row_is_at_work() {
        let mut window = Window::new(Limit { records: 2, bytes: 100 }, 256);
        let mut ledger = Ledger::default();
        assert!(window.take(0, 40, 1) && window.take(256, 40, 1) && !window.take(512, 1, 1));
        // A dialogue that the first row began waits.
        ledger.take(&mut vec![busy(3, 1, 1)]);
        let ended = ledger.advance(2);
        assert!(window.settle(2, &ended, &ledger));
        assert_eq!(window.outstanding(), (1, 40));
        assert!(!window.take(512, 61, 2) && window.take(512, 60, 2));
        ledger.take(&mut vec![busy(3, -1, 2)]);
        let ended = ledger.advance(3);
        assert!(window.settle(3, &ended, &ledger));
        assert_eq!(window.outstanding(), (0, 0));
    }

    #[test]
    fn what_comes_before_all_others_is_let_in_one_at_a_time() {
        let mut window = Window::new(Limit { records: 2, bytes: 100 }, 1);
        assert!(window.take(7, 1, 1) && window.take(8, 1, 1) && !window.take(9, 1, 1));
        assert!(window.take(3, 1, 1) && !window.take(2, 1, 1) && !window.take(4, 1, 1));
        window.settle(2, &[], &Ledger::default());
        assert_eq!(window.outstanding(), (0, 0));
    }

    #[test]
    fn a_record_larger_than_the_window_goes_alone() {
        let mut window = Window::new(Limit { records: 4, bytes: 10 }, 1);
        assert!(window.take(0, 50, 1) && !window.take(1, 1, 1));
        window.settle(2, &[], &Ledger::default());
        assert!(window.take(1, 1, 2) && !window.take(2, 50, 2));
    }
}
