//! The groups of a stage: keys, members, and the side records that they look up.
//!
//! Members that have not just come lie on disk: what a group takes of memory is its key. Their order is their own, so an
//! invocation does not depend on arrival.

mod ahead;
mod member;
mod sides;
mod store;

use std::hash::BuildHasher;
use std::io;
use std::path::Path;

use hashbrown::{DefaultHashBuilder, HashTable};
use obvert_api::frame;
use smallvec::SmallVec;

use super::item::{Bytes, Item, Key};
use sides::Sides;
use store::Store;

/// A group's number, as long as it has members.
pub(crate) type Id = u32;

pub(crate) struct Groups {
    hasher: DefaultHashBuilder,
    ids: HashTable<Id>,
    groups: Vec<Group>,
    /// Numbers that are not in use.
    free: Vec<Id>,
    sides: Sides,
    store: Store,
}

struct Group {
    key: Key,
    /// The side records that its members want, by their keys' numbers, and how many members do.
    wants: SmallVec<[(u32, i32); 2]>,
}

impl Groups {
    /// No groups yet; members of more than `limit` bytes go to a file in `folder`.
    pub(crate) fn new(folder: &Path, limit: usize) -> Self {
        Groups {
            hasher: DefaultHashBuilder::default(),
            ids: HashTable::new(),
            groups: Vec::new(),
            free: Vec::new(),
            sides: Sides::default(),
            store: Store::new(folder, limit),
        }
    }

    /// The group of a key; a new one if there is none.
    pub(crate) fn id(&mut self, key: Key) -> Id {
        let hash = self.hasher.hash_one(&key);
        if let Some(id) = self.ids.find(hash, |id| self.groups[*id as usize].key == key) {
            return *id;
        }
        let id = self.free.pop().unwrap_or(self.groups.len() as Id);
        let group = Group { key, wants: SmallVec::new() };
        match self.groups.get_mut(id as usize) {
            Some(unused) => *unused = group,
            None => self.groups.push(group),
        }
        self.store.add(id);
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.ids.insert_unique(hash, id, |id| hasher.hash_one(&groups[*id as usize].key));
        id
    }

    pub(crate) fn key(&self, id: Id) -> &Key {
        &self.groups[id as usize].key
    }

    /// So many more copies of a member, which wants the side records of a key.
    pub(crate) fn change(&mut self, id: Id, item: &Item, wants: Option<Key>, net: isize) -> io::Result<()> {
        if let Some(wanted) = wants {
            let side = self.sides.id(&wanted);
            match self.groups[id as usize].want(side, net) {
                Wanted::First => self.sides.want(side, id),
                Wanted::Last => self.sides.want_no_more(side, id),
                Wanted::Still => {}
            }
        }
        self.store.push(id, item, net)
    }

    /// So many more copies of a side record.
    pub(crate) fn change_side(&mut self, key: &Key, item: Item, net: isize) {
        self.sides.change(key, item, net);
    }

    /// The groups that want the side records of a key.
    pub(crate) fn wanting(&self, side: &Key) -> Vec<Id> {
        self.sides.wanting(side)
    }

    /// The invocation on a group as it is now; none without members.
    pub(crate) fn invocation(&mut self, id: Id) -> io::Result<Option<Item>> {
        if self.store.is_empty(id) {
            return Ok(None);
        }
        let (group, mut read) = (&self.groups[id as usize], Vec::new());
        let mut members = self.store.members(id, &mut read)?;
        members.retain(|member| member.copies > 0);
        let Some(place) = members.first().map(|first| first.place) else { return Ok(None) };
        let records: Vec<_> = members.iter().flat_map(|member| copied(member.bytes, member.copies)).collect();
        let with = self.sides.wanted(group.wants.iter().map(|(side, _)| *side));
        let bytes = frame::encode_invocation(&String::from_utf8_lossy(&group.key.0), &records, &with, &[]);
        Ok(Some(Item { place, bytes: Bytes::from(bytes.map_err(io::Error::other)?) }))
    }

    /// Forgets a group if it has no members left.
    pub(crate) fn tidy(&mut self, id: Id) -> io::Result<()> {
        if !self.store.is_empty(id) && !self.store.members(id, &mut Vec::new())?.is_empty() {
            return Ok(());
        }
        self.store.forget(id)?;
        let hash = self.hasher.hash_one(&self.groups[id as usize].key);
        if let Ok(entry) = self.ids.find_entry(hash, |other| *other == id) {
            entry.remove();
            self.free.push(id);
        }
        Ok(())
    }
}

/// A record as often as it is there.
fn copied(record: &[u8], copies: i64) -> impl Iterator<Item = &[u8]> {
    std::iter::repeat_n(record, usize::try_from(copies).unwrap_or(0))
}

/// What became of a group's wish for the side records of a key.
enum Wanted {
    First,
    Still,
    Last,
}

impl Group {
    fn want(&mut self, side: u32, net: isize) -> Wanted {
        let Some(at) = self.wants.iter().position(|(wanted, _)| *wanted == side) else {
            self.wants.push((side, net as i32));
            return Wanted::First;
        };
        self.wants[at].1 += net as i32;
        if self.wants[at].1 != 0 {
            return Wanted::Still;
        }
        self.wants.swap_remove(at);
        Wanted::Last
    }
}

#[cfg(test)]
mod tests {
    use obvert_api::frame::Records;

    use super::super::item::Place;
    use super::*;

    fn item(root: u64, text: &str) -> Item {
        Item { place: Place { root, lap: 0 }, bytes: Bytes::from(text.as_bytes().to_vec()) }
    }

    fn key(text: &str) -> Key {
        Key::of(text.as_bytes())
    }

    /// Records and side records of a group.
    fn shown(groups: &mut Groups, of: &str) -> Option<(u64, Vec<String>, Vec<String>)> {
        let id = groups.id(key(of));
        let item = groups.invocation(id).unwrap()?;
        let invocation = frame::decode_invocation(&item.bytes.0).unwrap();
        let texts = |records: Records<'_>| records.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect();
        Some((item.place.root, texts(invocation.records), texts(invocation.with)))
    }

    fn change(groups: &mut Groups, of: &str, root: u64, text: &str, net: isize) {
        let id = groups.id(key(of));
        groups.change(id, &item(root, text), Some(key("s")), net).unwrap();
    }

    /// With room for everything, for some, and for nothing.
    fn in_all_sizes(check: impl Fn(&mut Groups)) {
        let folder = tempfile::tempdir().unwrap();
        for limit in [usize::MAX, 200, 0] {
            check(&mut Groups::new(folder.path(), limit));
        }
    }

    #[test]
    fn members_come_in_their_own_order_from_memory_and_disk() {
        in_all_sizes(|groups| {
            for (root, text, of) in [(2, "b", "x"), (1, "z", "x"), (3, "c", "y"), (2, "a", "x"), (1, "z", "x")] {
                change(groups, of, root, text, 1);
            }
            groups.change_side(&key("s"), item(9, "side"), 1);
            let texts = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect::<Vec<_>>();
            assert_eq!(shown(groups, "x"), Some((1, texts(&["z", "z", "a", "b"]), texts(&["side"]))));
            assert_eq!(groups.wanting(&key("s")).len(), 2);
            change(groups, "x", 1, "z", -2);
            groups.change_side(&key("s"), item(9, "side"), -1);
            assert_eq!(shown(groups, "x"), Some((2, texts(&["a", "b"]), vec![])));
            for text in ["a", "b"] {
                change(groups, "x", 2, text, -1);
            }
            assert_eq!(shown(groups, "x"), None);
            let id = groups.id(key("x"));
            groups.tidy(id).unwrap();
            assert_eq!((groups.ids.len(), groups.wanting(&key("s")).len()), (1, 1));
        });
    }

    #[test]
    fn members_that_come_and_go_leave_what_is_left() {
        in_all_sizes(|groups| {
            let text = |n: u64| format!("{n} {}", "x".repeat(n as usize % 50));
            for n in 0..400 {
                change(groups, &format!("{}", n % 5), n, &text(n), 1);
                // Each group is on disk in many parts by now.
                if n >= 50 && n % 3 > 0 {
                    change(groups, &format!("{}", n % 5), n - 50, &text(n - 50), -1);
                }
            }
            for of in 0..5 {
                let left = |n: &u64| n % 5 == of && (n + 50 >= 400 || (n + 50).is_multiple_of(3));
                let texts: Vec<_> = (0..400).filter(left).map(text).collect();
                assert_eq!(shown(groups, &of.to_string()).map(|(_, records, _)| records), Some(texts));
            }
        });
    }

    #[test]
    fn a_file_that_is_mostly_unwanted_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut groups = Groups::new(folder.path(), 1 << 20);
        change(&mut groups, "kept", 0, "kept", 1);
        let long = "x".repeat(1 << 20);
        for n in 0..200 {
            change(&mut groups, "x", n, &long, 1);
            change(&mut groups, "x", n, &long, -1);
        }
        assert_eq!(shown(&mut groups, "kept"), Some((0, vec!["kept".into()], vec![])));
        assert_eq!(shown(&mut groups, "x"), None);
    }
}
