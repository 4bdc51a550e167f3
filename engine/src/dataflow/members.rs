//! The members of all groups of a stage, and the side records that they look up.
//!
//! Members that have not been touched for long lie on disk: what a group takes of memory is its key. Their order is their
//! own, so an invocation does not depend on arrival.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use differential_dataflow::consolidation::consolidate;
use obvert_api::frame;

use super::item::{Bytes, Item};
use crate::spool::{Extent, Spool};

/// What one member takes beside its bytes, roughly.
const OVERHEAD: usize = 64;

/// A group's number, as long as it has members.
pub(crate) type Id = u32;

/// Records and their copies: not 0, and below it where a withdrawal has come first.
type Members = Vec<(Item, isize)>;

pub(crate) struct Groups {
    ids: HashMap<Bytes, Id>,
    groups: Vec<Group>,
    /// Numbers that are not in use.
    free: Vec<Id>,
    /// Groups by the key of the side records that they want.
    wanting: HashMap<Bytes, HashSet<Id>>,
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
    touched: VecDeque<(Id, u64)>,
    touches: u64,
    /// Bytes on disk that are still wanted.
    live: u64,
}

struct Group {
    key: Bytes,
    /// Members in memory, in the order of their arrival.
    hot: Members,
    /// Of which so many were sorted and summed up.
    settled: usize,
    cold: Vec<Extent>,
    wants: Vec<(Bytes, isize)>,
    bytes: usize,
    touch: u64,
}

impl Groups {
    /// No groups yet; members of more than `limit` bytes go to a file in `folder`.
    pub(crate) fn new(folder: &Path, limit: usize) -> Self {
        let (touched, folder) = (VecDeque::new(), folder.to_path_buf());
        let cold = Cold { folder, spool: None, limit, hot: 0, touched, touches: 0, live: 0 };
        let (ids, wanting, sides) = (HashMap::new(), HashMap::new(), HashMap::new());
        Groups { ids, groups: Vec::new(), free: Vec::new(), wanting, sides, cold }
    }

    /// The group of a key; a new one if there is none.
    pub(crate) fn id(&mut self, key: Bytes) -> Id {
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let (hot, cold, wants) = (Vec::new(), Vec::new(), Vec::new());
        let group = Group { key: key.clone(), hot, settled: 0, cold, wants, bytes: 0, touch: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.groups[id as usize] = group;
                id
            }
            None => {
                self.groups.push(group);
                self.groups.len() as Id - 1
            }
        };
        self.ids.insert(key, id);
        id
    }

    pub(crate) fn key(&self, id: Id) -> &Bytes {
        &self.groups[id as usize].key
    }

    /// So many more copies of a member, which wants the side records of a key.
    pub(crate) fn change(&mut self, id: Id, item: Item, wants: Option<Bytes>, net: isize) -> io::Result<()> {
        let group = &mut self.groups[id as usize];
        if let Some(wanted) = wants {
            match group.want(&wanted, net) {
                Wanted::First => drop(self.wanting.entry(wanted).or_default().insert(id)),
                Wanted::Last => unlink(&mut self.wanting, &wanted, id),
                Wanted::Still => {}
            }
        }
        group.push(item, net, &mut self.cold);
        self.cold.touch(id, group);
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
    pub(crate) fn wanting(&self, side: &Bytes) -> Vec<Id> {
        self.wanting.get(side).into_iter().flatten().copied().collect()
    }

    /// The invocation on a group as it is now; none without members.
    pub(crate) fn invocation(&mut self, id: Id) -> io::Result<Option<Item>> {
        let group = &mut self.groups[id as usize];
        if group.hot.is_empty() && group.cold.is_empty() {
            return Ok(None);
        }
        let mut members = group.members(&mut self.cold)?;
        members.retain(|(_, copies)| *copies > 0);
        let Some(place) = members.first().map(|(first, _)| first.place) else { return Ok(None) };
        let records: Vec<_> = members.iter().flat_map(|(item, copies)| copied(item, *copies)).collect();
        let sides: BTreeMap<_, _> = group.wants.iter().filter_map(|(want, _)| self.sides.get(want)).flatten().collect();
        let with: Vec<_> = sides.iter().flat_map(|(item, copies)| copied(item, **copies)).collect();
        let bytes = frame::encode_invocation(&String::from_utf8_lossy(&group.key.0), &records, &with, &[]);
        Ok(Some(Item { place, bytes: Bytes::from(bytes.map_err(io::Error::other)?) }))
    }

    /// Forgets a group if it has no members left.
    pub(crate) fn tidy(&mut self, id: Id) -> io::Result<()> {
        let group = &mut self.groups[id as usize];
        if group.members(&mut self.cold)?.is_empty() {
            group.forget(&mut self.cold);
            self.ids.remove(&group.key);
            self.free.push(id);
        }
        Ok(())
    }

    /// Moves members to disk until those in memory are within the limit; what nobody wants any more goes from there.
    fn cool(&mut self) -> io::Result<()> {
        while self.cold.hot > self.cold.limit {
            let Some((id, touch)) = self.cold.touched.pop_front() else { break };
            let group = &mut self.groups[id as usize];
            if group.touch == touch {
                group.cool(&mut self.cold)?;
            }
        }
        if self.cold.touched.len() > 2 * self.groups.len() + 1024 {
            let groups = &self.groups;
            self.cold.touched.retain(|(id, touch)| groups[*id as usize].touch == *touch);
        }
        if self.cold.spool.as_ref().is_some_and(|spool| spool.len() > 2 * self.cold.live + (64 << 20)) {
            let old = self.cold.spool.take();
            self.cold.live = 0;
            for group in self.groups.iter_mut().filter(|group| !group.cold.is_empty()) {
                group.move_from(old.as_ref(), &mut self.cold)?;
            }
        }
        Ok(())
    }
}

/// What became of a group's wish for the side records of a key.
enum Wanted {
    First,
    Still,
    Last,
}

impl Group {
    fn want(&mut self, key: &Bytes, net: isize) -> Wanted {
        let Some(at) = self.wants.iter().position(|(wanted, _)| wanted == key) else {
            self.wants.push((key.clone(), net));
            return Wanted::First;
        };
        self.wants[at].1 += net;
        if self.wants[at].1 != 0 {
            return Wanted::Still;
        }
        self.wants.swap_remove(at);
        Wanted::Last
    }

    fn push(&mut self, item: Item, net: isize, cold: &mut Cold) {
        let size = item.bytes.0.len() + OVERHEAD;
        self.hot.push((item, net));
        self.bytes += size;
        cold.hot += size;
        if self.hot.len() > 2 * self.settled + 64 {
            self.settle(cold);
        }
    }

    /// Sums copies up, and sorts.
    fn settle(&mut self, cold: &mut Cold) {
        consolidate(&mut self.hot);
        self.settled = self.hot.len();
        cold.hot -= self.bytes;
        self.bytes = self.hot.iter().map(|(item, _)| item.bytes.0.len() + OVERHEAD).sum();
        cold.hot += self.bytes;
    }

    /// All members, in memory or not, sorted.
    fn members(&mut self, cold: &mut Cold) -> io::Result<Members> {
        self.settle(cold);
        let mut members = self.hot.clone();
        for extent in &self.cold {
            members.extend(cold.get(*extent)?);
        }
        if !self.cold.is_empty() {
            consolidate(&mut members);
        }
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
        (self.hot, self.settled) = (Vec::new(), 0);
        cold.hot -= std::mem::take(&mut self.bytes);
        cold.live -= self.cold.drain(..).map(|extent| u64::from(extent.length)).sum::<u64>();
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
    fn touch(&mut self, id: Id, group: &mut Group) {
        self.touches += 1;
        group.touch = self.touches;
        // A group that was touched last needs no other entry.
        match self.touched.back_mut().filter(|(last, _)| *last == id) {
            Some((_, touch)) => *touch = self.touches,
            None => self.touched.push_back((id, self.touches)),
        }
    }

    fn push(&mut self, members: &Members) -> io::Result<Extent> {
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

    fn get(&self, extent: Extent) -> io::Result<Members> {
        let spool = self.spool.as_ref().ok_or_else(|| io::Error::other("no spool"))?;
        let members = bincode::serde::decode_from_slice(&spool.get(extent)?, bincode::config::standard());
        members.map(|(members, _)| members).map_err(io::Error::other)
    }
}

/// An item as often as it is there.
fn copied(item: &Item, copies: isize) -> impl Iterator<Item = &[u8]> {
    std::iter::repeat_n(&*item.bytes.0, usize::try_from(copies).unwrap_or(0))
}

fn unlink(wanting: &mut HashMap<Bytes, HashSet<Id>>, wanted: &Bytes, id: Id) {
    if let Some(groups) = wanting.get_mut(wanted) {
        groups.remove(&id);
        if groups.is_empty() {
            wanting.remove(wanted);
        }
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

    fn key(text: &str) -> Bytes {
        Bytes::from(text.as_bytes().to_vec())
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
        groups.change(id, item(root, text), Some(key("s")), net).unwrap();
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
}
