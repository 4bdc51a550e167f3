//! Pairs in their order, on disk: what a view holds of a large set in memory is an index of some seventy bytes a pair.
//!
//! The file is scratch, and gone with the process; a run that is started again is told all records again and fills another one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use obvert_api::erased::decode;
use obvert_api::record::{Pair, hash_of};
use obvert_engine::spool::{Extent, Spool};
use serde::{Deserialize, Serialize};

use crate::output::Error;

/// Bytes of withdrawn records that are not worth a new file.
const GARBAGE: u64 = 64 << 20;

/// What tells a version of a pair from all others; the order of keys is that of the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key(
    /// The source row that it came from.
    pub(crate) u64,
    /// Its id.
    pub(crate) u64,
    /// Hash of the record.
    pub(crate) u64,
);

impl Key {
    pub(crate) fn new(root: u64, id: &str, record: &[u8]) -> Self {
        let hash = blake3::hash(record);
        let content = hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
        Key(root, number(id), content)
    }
}

/// An id as a number: those of the engine are one, others are hashed.
pub(crate) fn number(id: &str) -> u64 {
    let parsed = |id: &str| u64::from_str_radix(id, 16).ok().filter(|number| format!("{number:016x}") == id);
    parsed(id).unwrap_or_else(|| hash_of(&[id]))
}

/// A record's place, how often it came, and the group that it is of.
#[derive(Clone, Copy)]
struct Slot {
    at: Extent,
    copies: i32,
    group: u32,
}

/// The set.
pub(crate) struct PairSet {
    folder: Arc<Path>,
    spool: Spool,
    index: BTreeMap<Key, Slot>,
    /// Bytes of the records in the index.
    live: u64,
}

impl PairSet {
    /// An empty set, on the disk of a folder.
    ///
    /// # Errors
    /// As of all that follow: what the file system reports.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let spool = Spool::new(folder).map_err(Error::io(folder))?;
        Ok(PairSet { folder: folder.into(), spool, index: BTreeMap::new(), live: 0 })
    }

    /// Takes in copies of a record of a group, or takes them away. What was at a place stays there until `compact`.
    pub(crate) fn change(&mut self, key: Key, group: u32, record: &[u8], diff: isize) -> Result<(), Error> {
        let mut slot = match self.index.get(&key) {
            Some(slot) => *slot,
            None => self.add(group, record)?,
        };
        slot.copies += diff as i32;
        if slot.copies == 0 {
            self.index.remove(&key);
            self.live -= u64::from(slot.at.length);
        } else {
            self.index.insert(key, slot);
        }
        Ok(())
    }

    fn add(&mut self, group: u32, record: &[u8]) -> Result<Slot, Error> {
        let at = self.spool.push(record).map_err(Error::io(&self.folder))?;
        self.live += u64::from(at.length);
        Ok(Slot { at, copies: 0, group })
    }

    /// Where the record is, if it is in the set.
    pub(crate) fn find(&self, key: &Key) -> Option<Extent> {
        self.index.get(key).filter(|slot| slot.copies > 0).map(|slot| slot.at)
    }

    /// The pairs of the set, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.index.iter().filter(|(_, slot)| slot.copies > 0).map(|(key, _)| key)
    }

    /// The pair at a place.
    pub(crate) fn pair(&mut self, at: Extent) -> Result<Pair, Error> {
        self.lend(at)?.pair()
    }

    /// The pair at a place, to be read later.
    pub(crate) fn lend(&mut self, at: Extent) -> Result<Lent, Error> {
        Ok(Lent { folder: Arc::clone(&self.folder), file: self.share()?, at })
    }

    fn share(&mut self) -> Result<Arc<File>, Error> {
        self.spool.share().map_err(Error::io(&self.folder))
    }

    /// Pairs in the set.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The set as it is now, split into `of` parts by its groups' remainders; only the parts that are wanted. What comes after
    /// leaves it untouched.
    pub(crate) fn snapshot(&mut self, of: u32, wanted: impl Fn(u32) -> bool) -> Result<Vec<(u32, Snapshot)>, Error> {
        let file = self.share()?;
        let mut places = vec![Vec::new(); of as usize];
        for slot in self.index.values().filter(|slot| slot.copies > 0 && wanted(slot.group % of)) {
            places[(slot.group % of) as usize].push(slot.at);
        }
        let part = |places| Snapshot { folder: Arc::clone(&self.folder), file: Arc::clone(&file), places };
        Ok((0..of)
            .zip(places)
            .filter(|(index, _)| wanted(*index))
            .map(|(index, places)| (index, part(places)))
            .collect())
    }

    /// Moves to a new file where most of this one is of withdrawn records. Places from before are void then.
    pub(crate) fn compact(&mut self) -> Result<(), Error> {
        let garbage = self.spool.len() - self.live;
        if garbage <= self.live.max(GARBAGE) { Ok(()) } else { self.rewrite().map_err(Error::io(&self.folder)) }
    }

    fn rewrite(&mut self) -> std::io::Result<()> {
        let mut spool = Spool::new(&self.folder)?;
        for slot in self.index.values_mut() {
            slot.at = spool.push(&self.spool.get(slot.at)?)?;
        }
        self.spool = spool;
        Ok(())
    }
}

/// A pair that waits on disk: to be read on any thread, whatever becomes of the set.
pub(crate) struct Lent {
    folder: Arc<Path>,
    file: Arc<File>,
    at: Extent,
}

impl Lent {
    /// Reads it.
    pub(crate) fn pair(&self) -> Result<Pair, Error> {
        read(&self.file, &self.folder, self.at)
    }
}

/// A set as it was: to be read on any thread, in order.
pub(crate) struct Snapshot {
    folder: Arc<Path>,
    file: Arc<File>,
    places: Vec<Extent>,
}

impl Snapshot {
    /// The pairs, in the order of their keys.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = Result<Pair, Error>> {
        self.places.iter().map(|at| read(&self.file, &self.folder, *at))
    }
}

fn read(file: &File, folder: &Path, at: Extent) -> Result<Pair, Error> {
    let record = at.read(file).map_err(Error::io(folder))?;
    decode(&record).map_err(|e| Error::Refused { path: folder.into(), cause: e.0 })
}

#[cfg(test)]
mod tests {
    use obvert_api::erased::encode;
    use obvert_trainer::random::SplitMix64;

    use obvert_api::record::id_of;

    use super::*;
    use crate::train::tests::pair;

    /// A version of pair `id` of row `root`, with so many characters in it.
    fn record(root: u64, id: u64, size: usize) -> (Key, Vec<u8>) {
        let id = format!("{id:016x}");
        let bytes = encode(&Pair { chosen: "x".repeat(size), ..pair(&id, "d") }).unwrap();
        (Key::new(root, &id, &bytes), bytes)
    }

    fn held(set: &mut PairSet) -> Vec<(String, usize)> {
        let (_, snapshot) = set.snapshot(1, |_| true).unwrap().remove(0);
        snapshot.pairs().map(|pair| pair.unwrap()).map(|pair| (pair.id, pair.chosen.len())).collect()
    }

    #[test]
    fn a_set_is_what_a_map_would_hold_and_a_snapshot_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut set = PairSet::open(&folder.path().join("state")).unwrap();
        let (mut naive, mut random) = (BTreeMap::<Key, (isize, String, usize)>::new(), SplitMix64(1));
        let mut earlier = None;
        for step in 0..3000 {
            let (id, size) = (random.below(40) as u64, random.below(3));
            let (key, bytes) = record(random.below(4) as u64, id, size);
            let copies = naive.get(&key).map_or(0, |held| held.0);
            let diff = if copies > 0 && random.below(2) == 0 { -1 } else { 1 };
            set.change(key, key.1 as u32, &bytes, diff).unwrap();
            naive.insert(key, (copies + diff, format!("{id:016x}"), size));
            naive.retain(|_, held| held.0 != 0);
            assert_eq!(set.find(&key).is_some(), naive.contains_key(&key));
            if step % 500 == 499 {
                let expected: Vec<_> = naive.values().map(|(_, id, size)| (id.clone(), *size)).collect();
                assert_eq!(held(&mut set), expected);
                let parts = set.snapshot(4, |part| part != 2).unwrap();
                for (part, snapshot) in &parts {
                    let of = |id: &String| number(id) % 4 == u64::from(*part);
                    let found: Vec<_> = snapshot.pairs().map(|pair| pair.unwrap().id).collect();
                    assert_eq!(found, expected.iter().map(|(id, _)| id.clone()).filter(of).collect::<Vec<_>>());
                }
                assert_eq!(parts.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [0, 1, 3]);
                let before = earlier.replace((set.snapshot(1, |_| true).unwrap().remove(0).1, expected));
                set.rewrite().unwrap();
                assert_eq!(set.spool.len(), set.live);
                let Some((snapshot, expected)) = before else { continue };
                let found: Vec<_> = snapshot.pairs().map(|p| p.unwrap()).map(|p| (p.id, p.chosen.len())).collect();
                assert_eq!(found, expected);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path().join("state")).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_mostly_garbage_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut set = PairSet::open(folder.path()).unwrap();
        for id in 0..100 {
            let (key, bytes) = record(0, id, 1 << 20);
            set.change(key, key.1 as u32, &bytes, 1).unwrap();
            if id >= 2 {
                set.change(key, key.1 as u32, &bytes, -1).unwrap();
            }
            set.compact().unwrap();
            assert!(set.spool.len() <= 68 << 20, "{}", set.spool.len());
        }
        assert_eq!(held(&mut set).len(), 2);
    }

    /// Pairs stand in the order of their ids where these are the engine's own, as in files of earlier versions.
    #[test]
    fn keys_are_in_the_order_of_ids() {
        let mut ids: Vec<String> = (0..50).map(|n: u32| id_of(&[&n.to_string()])).collect();
        ids.sort();
        assert!(ids.windows(2).all(|two| number(&two[0]) < number(&two[1])));
        assert_ne!(number("f"), number("000000000000000f"));
        assert_eq!(number("another"), number("another"));
    }
}
