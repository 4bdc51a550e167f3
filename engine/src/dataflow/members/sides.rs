//! Side records by their keys, and the groups that want them. Most keys are wanted by few groups, and many have no records: so a key
//! takes a hundred bytes at most, whatever its length.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use smallvec::SmallVec;

use super::{Id, copied};
use crate::dataflow::item::{Item, Key};

/// What stands for a key: a hash that no two keys share.
type Name = [u8; 16];

#[derive(Default)]
pub(super) struct Sides {
    hasher: DefaultHashBuilder,
    ids: HashTable<u32>,
    sides: Vec<Side>,
    /// Numbers that are not in use.
    free: Vec<u32>,
}

#[derive(Default)]
struct Side {
    name: Name,
    /// In their own order, with their copies.
    records: Vec<(Item, isize)>,
    wanting: Ids,
}

/// The groups that want records.
enum Ids {
    /// In order.
    Few(SmallVec<[Id; 4]>),
    Many(Box<HashSet<Id>>),
}

/// So many are few.
const FEW: usize = 64;

impl Default for Ids {
    fn default() -> Self {
        Ids::Few(SmallVec::new())
    }
}

impl Ids {
    fn insert(&mut self, id: Id) {
        match self {
            Ids::Few(ids) => match ids.binary_search(&id) {
                Ok(_) => {}
                Err(at) if ids.len() < FEW => ids.insert(at, id),
                Err(_) => *self = Ids::Many(Box::new(ids.iter().copied().chain([id]).collect())),
            },
            Ids::Many(ids) => drop(ids.insert(id)),
        }
    }

    fn remove(&mut self, id: Id) {
        match self {
            Ids::Few(ids) => drop(ids.binary_search(&id).map(|at| ids.remove(at))),
            Ids::Many(ids) => drop(ids.remove(&id)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Ids::Few(ids) => ids.is_empty(),
            Ids::Many(ids) => ids.is_empty(),
        }
    }

    fn to_vec(&self) -> Vec<Id> {
        match self {
            Ids::Few(ids) => ids.to_vec(),
            Ids::Many(ids) => ids.iter().copied().collect(),
        }
    }
}

impl Sides {
    /// The number of a key; a new one if it has none.
    pub(super) fn id(&mut self, key: &Key) -> u32 {
        let name = name(key);
        if let Some(id) = self.find(&name) {
            return id;
        }
        let id = self.free.pop().unwrap_or(self.sides.len() as u32);
        let side = Side { name, ..Side::default() };
        match self.sides.get_mut(id as usize) {
            Some(unused) => *unused = side,
            None => self.sides.push(side),
        }
        let (sides, hasher) = (&self.sides, &self.hasher);
        self.ids.insert_unique(hasher.hash_one(name), id, |id| hasher.hash_one(sides[*id as usize].name));
        id
    }

    fn find(&self, name: &Name) -> Option<u32> {
        self.ids.find(self.hasher.hash_one(name), |id| self.sides[*id as usize].name == *name).copied()
    }

    /// A group wants the records of a key of that number.
    pub(super) fn want(&mut self, side: u32, group: Id) {
        self.sides[side as usize].wanting.insert(group);
    }

    /// It does so no more.
    pub(super) fn want_no_more(&mut self, side: u32, group: Id) {
        self.sides[side as usize].wanting.remove(group);
        self.tidy(side);
    }

    /// So many more copies of a record.
    pub(super) fn change(&mut self, key: &Key, item: Item, net: isize) {
        let side = self.id(key);
        let records = &mut self.sides[side as usize].records;
        match records.binary_search_by(|(other, _)| other.cmp(&item)) {
            Ok(at) => {
                records[at].1 += net;
                if records[at].1 == 0 {
                    records.remove(at);
                }
            }
            Err(at) => records.insert(at, (item, net)),
        }
        self.tidy(side);
    }

    /// The groups that want the records of a key.
    pub(super) fn wanting(&self, key: &Key) -> Vec<Id> {
        self.find(&name(key)).map(|id| self.sides[id as usize].wanting.to_vec()).unwrap_or_default()
    }

    /// The records of several keys, each once, in their own order.
    pub(super) fn wanted(&self, ids: impl Iterator<Item = u32>) -> Vec<&[u8]> {
        let mut records: Vec<_> = ids.flat_map(|id| &self.sides[id as usize].records).collect();
        records.sort_unstable();
        records.dedup();
        records.into_iter().flat_map(|(item, copies)| copied(&item.bytes.0, *copies as i64)).collect()
    }

    /// Forgets a key of which there are no records and which nobody wants.
    fn tidy(&mut self, id: u32) {
        let side = &self.sides[id as usize];
        if !side.records.is_empty() || !side.wanting.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(side.name);
        if let Ok(entry) = self.ids.find_entry(hash, |other| *other == id) {
            entry.remove();
            self.free.push(id);
        }
    }
}

fn name(key: &Key) -> Name {
    let mut name = Name::default();
    name.copy_from_slice(&blake3::hash(&key.0).as_bytes()[..16]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::item::{Bytes, Place};

    fn key(text: &str) -> Key {
        Key::of(text.as_bytes())
    }

    fn record(text: &str) -> Item {
        Item { place: Place { root: 1, lap: 0 }, bytes: Bytes::from(text.as_bytes().to_vec()) }
    }

    #[test]
    fn a_number_is_used_again_once_nothing_is_left_of_its_key() {
        let mut sides = Sides::default();
        let first = sides.id(&key("a"));
        sides.want(first, 7);
        // It goes before it comes, and is nothing in the end.
        sides.change(&key("a"), record("x"), -1);
        assert_eq!(sides.wanted([first].into_iter()), Vec::<&[u8]>::new());
        sides.change(&key("a"), record("x"), 1);
        sides.want_no_more(first, 7);
        assert!(sides.wanting(&key("a")).is_empty());
        let second = sides.id(&key("b"));
        assert_eq!(second, first);
        sides.change(&key("b"), record("y"), 2);
        assert_eq!(sides.wanted([second].into_iter()), [b"y", b"y"]);
        assert_ne!(sides.id(&key("a")), second);
    }

    #[test]
    fn many_groups_want_a_key_as_few_do() {
        let mut sides = Sides::default();
        let side = sides.id(&key(""));
        let groups = 0..3 * FEW as Id;
        for group in groups.clone().rev().chain(groups.clone()) {
            sides.want(side, group);
        }
        let sorted = |sides: &Sides| {
            let mut ids = sides.wanting(&key(""));
            ids.sort_unstable();
            ids
        };
        assert_eq!(sorted(&sides), groups.clone().collect::<Vec<_>>());
        groups.clone().filter(|group| group % 3 > 0).for_each(|group| sides.want_no_more(side, group));
        assert_eq!(sorted(&sides), groups.filter(|group| group % 3 == 0).collect::<Vec<_>>());
    }
}
