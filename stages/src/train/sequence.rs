//! The pairs in their order, on disk: those that were told to the learner, and those that wait until no earlier one can come.

use std::collections::BTreeSet;
use std::path::Path;

use obvert_api::erased::decode;
use obvert_api::record::Pair;
use obvert_engine::{Change, Settled};

use super::ledger::Difference;
use crate::output::Error;
use crate::pair_set::{Key, Lent, PairSet};

/// The sequence.
pub(super) struct Sequence {
    pairs: PairSet,
    /// Not told yet.
    waiting: BTreeSet<Key>,
    /// Told, and gone since.
    gone: BTreeSet<Key>,
    /// The last in order that was told.
    last: Option<Key>,
}

impl Sequence {
    /// No pairs yet; they lie on the disk of a folder.
    ///
    /// # Errors
    /// As of all that follow: what the file system reports.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Sequence { pairs: PairSet::open(folder)?, waiting: BTreeSet::new(), gone: BTreeSet::new(), last: None })
    }

    /// Takes in a change; how what was told differs from the sequence now, where it was told.
    pub(super) fn change(&mut self, change: &Change) -> Result<Option<Difference>, String> {
        let pair: Pair = decode(&change.record).map_err(|e| e.0)?;
        let key = Key::new(change.root, &pair.id, &change.record);
        let before = self.pairs.find(&key).is_some();
        self.pairs.change(key, 0, &change.record, change.diff).map_err(|e| e.to_string())?;
        let was_told = match (before, self.pairs.find(&key).is_some()) {
            (false, true) => self.gone.remove(&key) || !self.waiting.insert(key),
            (true, false) => !self.waiting.remove(&key) && self.gone.insert(key),
            _ => false,
        };
        Ok(was_told.then_some(Difference { pair: pair.id, diff: change.diff.signum() as i8 }))
    }

    /// The pairs that are next, and come to stand before others that were told.
    pub(super) fn late(&mut self, settled: Settled) -> Result<Vec<Difference>, Error> {
        let last = self.last;
        let late = self.waiting.iter().take_while(|key| Some(**key) < last && is_final(key, settled));
        let places: Vec<_> = late.filter_map(|key| self.pairs.find(key)).collect();
        places.into_iter().map(|at| Ok(Difference { pair: self.pairs.pair(at)?.id, diff: 1 })).collect()
    }

    /// Whether what was told differs from the sequence, and no change can come any more where it begins to.
    pub(super) fn differs(&self, settled: Settled) -> bool {
        let late = self.waiting.first().filter(|key| Some(**key) < self.last);
        late.into_iter().chain(self.gone.first()).min().is_some_and(|key| is_final(key, settled))
    }

    /// Goes back to the beginning: all is to be told again.
    pub(super) fn rewind(&mut self) {
        (self.waiting, self.last) = (self.pairs.keys().copied().collect(), None);
        self.gone.clear();
    }

    /// The next pair to tell and its root, if no earlier one can come any more.
    pub(super) fn next(&mut self, settled: Settled) -> Result<Option<(u64, Lent)>, Error> {
        let Some(key) = self.waiting.first().copied().filter(|key| is_final(key, settled)) else { return Ok(None) };
        self.waiting.remove(&key);
        self.last = self.last.max(Some(key));
        self.pairs.find(&key).map(|at| Ok((key.0, self.pairs.lend(at)?))).transpose()
    }

    /// Makes room on disk, where most of it is taken by pairs that are gone.
    pub(super) fn compact(&mut self) -> Result<(), Error> {
        self.pairs.compact()
    }
}

fn is_final(key: &Key, settled: Settled) -> bool {
    match settled {
        Settled::Below(root) => key.0 < root,
        Settled::All => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use obvert_api::erased::encode;
    use obvert_trainer::random::SplitMix64;

    use super::super::tests::pair;
    use super::*;

    fn change(root: u64, number: usize, diff: isize) -> Change {
        let id = format!("{number:016x}");
        Change { root, record: encode(&pair(&id, "d")).unwrap().into(), diff }
    }

    fn told(sequence: &mut Sequence, settled: Settled) -> Vec<String> {
        std::iter::from_fn(|| sequence.next(settled).unwrap()).map(|(_, lent)| lent.pair().unwrap().id).collect()
    }

    fn open() -> (tempfile::TempDir, Sequence) {
        let folder = tempfile::tempdir().unwrap();
        let sequence = Sequence::open(folder.path()).unwrap();
        (folder, sequence)
    }

    /// Told again wherever it differs, the whole is always a beginning of the sorted set.
    #[test]
    fn what_is_told_is_sorted_whenever_it_is_told_again() {
        for seed in 0..30 {
            let ((_folder, mut sequence), mut random) = (open(), SplitMix64(seed));
            let (mut set, mut heard) = (BTreeMap::new(), Vec::new());
            for _ in 0..200 {
                let (root, number) = (random.below(6) as u64, random.below(8));
                let key = (root, number);
                let diff = if set.remove(&key).is_some() { -1 } else { 1 };
                if diff == 1 {
                    set.insert(key, format!("{number:016x}"));
                }
                let difference = sequence.change(&change(root, number, diff)).unwrap();
                if diff == -1 {
                    assert_eq!(difference.is_some(), heard.contains(&(key, format!("{number:016x}"))));
                }
                let bound = random.below(8) as u64;
                let settled = if bound == 7 { Settled::All } else { Settled::Below(bound) };
                if sequence.differs(settled) {
                    sequence.rewind();
                    heard.clear();
                } else if sequence.differs(Settled::All) {
                    assert!(told(&mut sequence, settled).is_empty(), "it would only be told again");
                    continue;
                }
                let expected = set.iter().filter(|((root, _), _)| bound == 7 || *root < bound);
                let expected: Vec<_> = expected.map(|(key, id)| (*key, id.clone())).collect();
                let more = told(&mut sequence, settled);
                heard.extend(expected.iter().skip(heard.len()).take(more.len()).cloned());
                assert!(heard.len() >= expected.len() && heard[..expected.len()] == expected[..], "seed {seed}");
                assert!(heard.iter().map(|(_, id)| id).rev().zip(more.iter().rev()).all(|(a, b)| a == b));
            }
        }
    }

    #[test]
    fn differences_of_what_was_told_are_named() {
        let (_folder, mut sequence) = open();
        let name = |number: usize, diff: i8| Difference { pair: format!("{number:016x}"), diff };
        let mut take = |root, number, diff| sequence.change(&change(root, number, diff)).unwrap();
        assert_eq!([take(0, 1, 1), take(1, 2, 1), take(2, 3, 1), take(2, 3, -1)], [None, None, None, None]);
        assert_eq!(told(&mut sequence, Settled::Below(2)).len(), 2);
        let mut take = |root, number, diff| sequence.change(&change(root, number, diff)).unwrap();
        assert_eq!(take(1, 2, -1), Some(name(2, -1)));
        assert_eq!(take(1, 2, 1), Some(name(2, 1)));
        assert_eq!([take(0, 4, 1), take(2, 5, 1)], [None, None]);
        assert_eq!(sequence.late(Settled::All).unwrap(), [name(4, 1)]);
        assert!(sequence.differs(Settled::Below(1)) && !sequence.differs(Settled::Below(0)));
        assert_eq!(told(&mut sequence, Settled::All).len(), 2);
        assert!(!sequence.differs(Settled::All));
    }
}
