//! Side records by their keys, and the groups that want them. Most keys are wanted by few groups, and many have no records: so a key
//! takes a hundred bytes at most, whatever its length.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
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
    /// The groups that want them, in order.
    wanting: SmallVec<[Id; 4]>,
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
        let wanting = &mut self.sides[side as usize].wanting;
        if let Err(at) = wanting.binary_search(&group) {
            wanting.insert(at, group);
        }
    }

    /// It does so no more.
    pub(super) fn want_no_more(&mut self, side: u32, group: Id) {
        let wanting = &mut self.sides[side as usize].wanting;
        if let Ok(at) = wanting.binary_search(&group) {
            wanting.remove(at);
        }
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
    pub(super) fn wanting(&self, key: &Key) -> &[Id] {
        self.find(&name(key)).map_or(&[], |id| &self.sides[id as usize].wanting)
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
