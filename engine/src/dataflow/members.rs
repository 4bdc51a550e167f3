//! The members of all groups of a stage, and the side records that they look up.
//!
//! Members that have not been touched for long lie on disk: what a group takes of memory is its key. Their order is their
//! own, so an invocation does not depend on arrival.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use obvert_api::frame;

use super::item::{Bytes, Item};
use super::keyed::Keyed;
use crate::spool::{Extent, Spool};

/// What one member takes beside its bytes, roughly.
const OVERHEAD: usize = 64;

pub(crate) struct Groups {
    groups: HashMap<Bytes, Group>,
    /// Groups by the key of the side records that they want.
    wanting: HashMap<Bytes, HashSet<Bytes>>,
    sides: HashMap<Bytes, BTreeMap<Item, isize>>,
    cold: Cold,
}

/// The part of the members that is on disk.
struct Cold {
    folder: PathBuf,
    spool: Option<Spool>,
    /// Bytes of members in memory, at most and now.
    limit: usize,
    hot: usize,
    /// Groups in the order in which they were touched, with the touch.
    touched: VecDeque<(Bytes, u64)>,
    touches: u64,
    /// Bytes on disk that are still wanted.
    live: u64,
}

#[derive(Default)]
struct Group {
    hot: BTreeMap<Item, isize>,
    cold: Vec<Extent>,
    wants: BTreeMap<Bytes, isize>,
    bytes: usize,
    touch: u64,
}

impl Groups {
    /// No groups yet; members of more than `limit` bytes go to a file in `folder`.
    pub(crate) fn new(folder: &Path, limit: usize) -> Self {
        let (touched, folder) = (VecDeque::new(), folder.to_path_buf());
        let cold = Cold { folder, spool: None, limit, hot: 0, touched, touches: 0, live: 0 };
        Groups { groups: HashMap::new(), wanting: HashMap::new(), sides: HashMap::new(), cold }
    }

    /// So many more copies of a member.
    pub(crate) fn change(&mut self, member: Keyed, net: isize) -> io::Result<()> {
        let Keyed { item, key, wants } = member;
        let group = self.groups.entry(key.clone()).or_default();
        if let Some(wanted) = wants {
            let count = group.wants.entry(wanted.clone()).or_insert(0);
            *count += net;
            if *count == 0 {
                group.wants.remove(&wanted);
                unlink(&mut self.wanting, &wanted, &key);
            } else {
                self.wanting.entry(wanted).or_default().insert(key.clone());
            }
        }
        group.put(item, net, &mut self.cold);
        self.cold.touch(key, group);
        self.cool()
    }

    /// So many more copies of a side record.
    pub(crate) fn change_side(&mut self, key: &Bytes, item: Item, net: isize) {
        let records = self.sides.entry(key.clone()).or_default();
        let copies = records.entry(item.clone()).or_insert(0);
        *copies += net;
        if *copies == 0 {
            records.remove(&item);
        }
        if records.is_empty() {
            self.sides.remove(key);
        }
    }

    /// The groups that want the side records of a key.
    pub(crate) fn wanting(&self, side: &Bytes) -> Vec<Bytes> {
        self.wanting.get(side).into_iter().flatten().cloned().collect()
    }

    /// The invocation on a group as it is now; none without members.
    pub(crate) fn invocation(&self, key: &Bytes) -> io::Result<Option<Item>> {
        let Some(group) = self.groups.get(key) else { return Ok(None) };
        let mut members = group.members(&self.cold)?;
        members.retain(|_, copies| *copies > 0);
        let Some(place) = members.keys().next().map(|first| first.place) else { return Ok(None) };
        let sides: BTreeMap<_, _> = group.wants.keys().filter_map(|want| self.sides.get(want)).flatten().collect();
        let records: Vec<&[u8]> = members.keys().map(|item| &*item.bytes.0).collect();
        let with: Vec<&[u8]> = sides.iter().filter(|(_, net)| ***net > 0).map(|(item, _)| &*item.bytes.0).collect();
        let bytes = frame::encode_invocation(&String::from_utf8_lossy(&key.0), &records, &with, &[]);
        Ok(Some(Item { place, bytes: Bytes::from(bytes.map_err(io::Error::other)?) }))
    }

    /// Forgets a group if it has no members left.
    pub(crate) fn tidy(&mut self, key: &Bytes) -> io::Result<()> {
        if let Some(group) = self.groups.get_mut(key)
            && group.members(&self.cold)?.is_empty()
        {
            group.forget(&mut self.cold);
            self.groups.remove(key);
        }
        Ok(())
    }

    /// Moves members to disk until those in memory are within the limit; what nobody wants any more goes from there.
    fn cool(&mut self) -> io::Result<()> {
        while self.cold.hot > self.cold.limit {
            let Some((key, touch)) = self.cold.touched.pop_front() else { break };
            if let Some(group) = self.groups.get_mut(&key).filter(|group| group.touch == touch) {
                group.cool(&mut self.cold)?;
            }
        }
        if self.cold.touched.len() > 2 * self.groups.len() + 1024 {
            let groups = &self.groups;
            self.cold.touched.retain(|(key, touch)| groups.get(key).is_some_and(|group| group.touch == *touch));
        }
        if self.cold.spool.as_ref().is_some_and(|spool| spool.len() > 2 * self.cold.live + (64 << 20)) {
            let old = self.cold.spool.take();
            self.cold.live = 0;
            for group in self.groups.values_mut().filter(|group| !group.cold.is_empty()) {
                group.move_from(old.as_ref(), &mut self.cold)?;
            }
        }
        Ok(())
    }
}

impl Group {
    fn put(&mut self, item: Item, net: isize, cold: &mut Cold) {
        let size = item.bytes.0.len() + OVERHEAD;
        match self.hot.entry(item) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(net);
                self.bytes += size;
                cold.hot += size;
            }
            std::collections::btree_map::Entry::Occupied(mut held) => {
                *held.get_mut() += net;
                if *held.get() == 0 {
                    held.remove();
                    self.bytes -= size;
                    cold.hot -= size;
                }
            }
        }
    }

    /// All members, in memory or not, and their copies: not 0, and below it where a withdrawal has come first.
    fn members(&self, cold: &Cold) -> io::Result<BTreeMap<Item, isize>> {
        let mut members = self.hot.clone();
        for extent in &self.cold {
            for (item, net) in cold.get(*extent)? {
                *members.entry(item).or_insert(0) += net;
            }
        }
        members.retain(|_, net| *net != 0);
        Ok(members)
    }

    /// Moves all members to disk.
    fn cool(&mut self, cold: &mut Cold) -> io::Result<()> {
        let members = self.members(cold)?;
        self.forget(cold);
        if !members.is_empty() {
            self.cold.push(cold.push(&members)?);
        }
        Ok(())
    }

    fn forget(&mut self, cold: &mut Cold) {
        self.hot.clear();
        cold.hot -= std::mem::take(&mut self.bytes);
        cold.live -= self.cold.drain(..).map(Extent::len).sum::<u64>();
    }

    fn move_from(&mut self, old: Option<&Spool>, cold: &mut Cold) -> io::Result<()> {
        for extent in &mut self.cold {
            let bytes = old.map_or_else(|| Ok(Vec::new()), |old| old.get(*extent))?;
            *extent = cold.keep(&bytes)?;
        }
        Ok(())
    }
}

impl Cold {
    fn touch(&mut self, key: Bytes, group: &mut Group) {
        self.touches += 1;
        // A group that was touched last needs no other entry.
        let newest = self.touched.back_mut().filter(|(last, _)| *last == key);
        group.touch = self.touches;
        match newest {
            Some((_, touch)) => *touch = self.touches,
            None => self.touched.push_back((key, self.touches)),
        }
    }

    fn push(&mut self, members: &BTreeMap<Item, isize>) -> io::Result<Extent> {
        let bytes = bincode::serde::encode_to_vec(members, bincode::config::standard()).map_err(io::Error::other)?;
        self.keep(&bytes)
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<Extent> {
        if self.spool.is_none() {
            self.spool = Some(Spool::new(&self.folder)?);
        }
        let spool = self.spool.as_mut().ok_or_else(|| io::Error::other("no spool"))?;
        self.live += bytes.len() as u64;
        spool.push(bytes)
    }

    fn get(&self, extent: Extent) -> io::Result<BTreeMap<Item, isize>> {
        let spool = self.spool.as_ref().ok_or_else(|| io::Error::other("no spool"))?;
        let members = bincode::serde::decode_from_slice(&spool.get(extent)?, bincode::config::standard());
        members.map(|(members, _)| members).map_err(io::Error::other)
    }
}

fn unlink(wanting: &mut HashMap<Bytes, HashSet<Bytes>>, wanted: &Bytes, key: &Bytes) {
    if let Some(groups) = wanting.get_mut(wanted) {
        groups.remove(key);
        if groups.is_empty() {
            wanting.remove(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::Place;
    use super::*;

    fn item(root: u64, text: &str) -> Item {
        Item { place: Place { root, lap: 0 }, bytes: Bytes::from(text.as_bytes().to_vec()) }
    }

    fn key(text: &str) -> Bytes {
        Bytes::from(text.as_bytes().to_vec())
    }

    /// Records and side records of a group.
    fn shown(groups: &Groups, of: &str) -> Option<(u64, Vec<String>, Vec<String>)> {
        let item = groups.invocation(&key(of)).unwrap()?;
        let invocation = frame::decode_invocation(&item.bytes.0).unwrap();
        let texts = |records: Vec<&[u8]>| records.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect();
        Some((item.place.root, texts(invocation.records), texts(invocation.with)))
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
            let member = |root, text, of| Keyed { item: item(root, text), key: key(of), wants: Some(key("s")) };
            for (root, text, of) in [(2, "b", "x"), (1, "z", "x"), (3, "c", "y"), (2, "a", "x"), (1, "z", "x")] {
                groups.change(member(root, text, of), 1).unwrap();
            }
            groups.change_side(&key("s"), item(9, "side"), 1);
            let texts = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect::<Vec<_>>();
            assert_eq!(shown(groups, "x"), Some((1, texts(&["z", "a", "b"]), texts(&["side"]))));
            assert_eq!(groups.wanting(&key("s")).len(), 2);
            groups.change(member(1, "z", "x"), -2).unwrap();
            groups.change_side(&key("s"), item(9, "side"), -1);
            assert_eq!(shown(groups, "x"), Some((2, texts(&["a", "b"]), vec![])));
            for text in ["a", "b"] {
                groups.change(member(2, text, "x"), -1).unwrap();
            }
            assert_eq!(shown(groups, "x"), None);
            groups.tidy(&key("x")).unwrap();
            assert_eq!((groups.groups.len(), groups.wanting(&key("s")).len()), (1, 1));
        });
    }
}
