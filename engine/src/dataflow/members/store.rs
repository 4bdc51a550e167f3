//! Where members lie: new ones behind each other in memory, as they come; when those are too many, all of them on disk, group
//! by group.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Id;
use super::ahead::Ahead;
use super::member::{Member, net, number};
use crate::dataflow::item::Item;
use crate::spool::{Extent, Spool};

/// Parts of a group on disk, at most: then they become one.
const PARTS: u32 = 8;
/// Bytes on disk that nobody wants, beside as many as are wanted.
const GARBAGE: u64 = 64 << 20;

pub(super) struct Store {
    /// Bytes of members in memory, at most.
    limit: usize,
    /// By group.
    trails: Vec<Trail>,
    /// Members, each behind where the one before it of its group begins, and one more.
    hot: Vec<u8>,
    /// The groups that they are of.
    warm: Vec<Id>,
    disk: Disk,
}

/// Where a group's members lie: the last of those in memory, and the last part of those on disk. Each knows the one before it.
#[derive(Clone, Copy, Default)]
struct Trail {
    /// One more than where it begins; 0: there is none.
    newest: u32,
    parts: u32,
    part: Part,
}

/// A part of a group on disk, behind the part before it; an empty one is none.
#[derive(Clone, Copy, Default)]
struct Part {
    at: u64,
    length: u32,
}

struct Disk {
    folder: PathBuf,
    spool: Option<Spool>,
    /// The spool's, and how long it was when it was last shared: so much may be read.
    file: Option<(Arc<File>, u64)>,
    ahead: Ahead,
    /// Bytes that are wanted.
    live: u64,
}

impl Store {
    /// No groups yet; members of more than `limit` bytes go to a file in `folder`.
    pub(super) fn new(folder: &Path, limit: usize) -> Self {
        let limit = limit.min(u32::MAX as usize / 2);
        Store { limit, trails: Vec::new(), hot: Vec::new(), warm: Vec::new(), disk: Disk::new(folder) }
    }

    /// Makes room for a group of that number.
    pub(super) fn add(&mut self, id: Id) {
        self.trails.resize(self.trails.len().max(id as usize + 1), Trail::default());
    }

    /// Whether a group has no members: none in memory, and none on disk.
    pub(super) fn is_empty(&self, id: Id) -> bool {
        let trail = &self.trails[id as usize];
        trail.newest == 0 && trail.parts == 0
    }

    /// So many more copies of a member of a group.
    pub(super) fn push(&mut self, id: Id, item: &Item, copies: isize) -> io::Result<()> {
        let trail = &mut self.trails[id as usize];
        if trail.newest == 0 {
            self.warm.push(id);
        }
        // Else its capacity would double to twice the limit.
        if self.hot.len() > self.limit / 2 && self.hot.capacity() < self.limit {
            self.hot.reserve_exact(self.limit - self.hot.len() + self.limit / 64);
        }
        let at = self.hot.len() as u32;
        self.hot.extend_from_slice(&trail.newest.to_le_bytes());
        Member::of(item, copies).write(&mut self.hot);
        trail.newest = at + 1;
        if self.hot.len() > self.limit { self.spill() } else { Ok(()) }
    }

    /// All members of a group, each once, in their own order. `parts` is for what is read from disk.
    pub(super) fn members<'a>(&'a mut self, id: Id, parts: &'a mut Vec<Vec<u8>>) -> io::Result<Vec<Member<'a>>> {
        let trail = self.trails[id as usize];
        self.disk.read(trail.part, parts)?;
        let mut members = in_memory(&self.hot, trail);
        for part in parts.iter() {
            let mut left = &part[Part::HEAD..];
            while !left.is_empty() {
                members.push(Member::read(&mut left)?);
            }
        }
        Ok(net(members))
    }

    /// Forgets a group's members.
    pub(super) fn forget(&mut self, id: Id) -> io::Result<()> {
        let trail = std::mem::take(&mut self.trails[id as usize]);
        self.disk.forget(trail.part)
    }

    /// Moves all members to disk; what nobody wants any more goes from there.
    fn spill(&mut self) -> io::Result<()> {
        let mut warm = std::mem::take(&mut self.warm);
        warm.sort_unstable();
        warm.iter().try_for_each(|id| self.spill_group(*id))?;
        self.hot.clear();
        self.disk.share()?;
        if self.disk.is_wasteful() { self.compact() } else { Ok(()) }
    }

    fn spill_group(&mut self, id: Id) -> io::Result<()> {
        let trail = self.trails[id as usize];
        // It may have been forgotten since.
        if trail.newest == 0 {
            return Ok(());
        }
        if trail.parts >= PARTS {
            return self.rewrite(id);
        }
        let members = net(in_memory(&self.hot, trail));
        let part = self.disk.push(trail.part, &members)?;
        let parts = trail.parts + u32::from(!members.is_empty());
        self.trails[id as usize] = Trail { newest: 0, parts, part };
        Ok(())
    }

    /// Makes all that there is of a group one part.
    fn rewrite(&mut self, id: Id) -> io::Result<()> {
        let mut read = Vec::new();
        let bytes = part_of(Part::default(), &self.members(id, &mut read)?);
        self.forget(id)?;
        let part = self.disk.keep(&bytes)?;
        self.trails[id as usize] = Trail { newest: 0, parts: u32::from(part.length > 0), part };
        Ok(())
    }

    /// Moves what is wanted to another file. Nothing is in memory.
    fn compact(&mut self) -> io::Result<()> {
        let mut other = Disk::new(&self.disk.folder);
        for id in 0..self.trails.len() {
            let mut read = Vec::new();
            let part = part_of(Part::default(), &self.members(id as Id, &mut read)?);
            let part = other.keep(&part)?;
            self.trails[id] = Trail { newest: 0, parts: u32::from(part.length > 0), part };
        }
        other.share()?;
        self.disk = other;
        Ok(())
    }
}

fn in_memory(hot: &[u8], trail: Trail) -> Vec<Member<'_>> {
    let (mut members, mut next) = (Vec::new(), trail.newest);
    while let Some(at) = next.checked_sub(1) {
        let mut left = &hot[at as usize..];
        next = number(&mut left).map_or(0, u32::from_le_bytes);
        members.extend(Member::read(&mut left));
    }
    members
}

impl Part {
    /// Bytes before its members: where the part before it lies.
    const HEAD: usize = 12;

    /// The part before this one.
    fn before(mut bytes: &[u8]) -> io::Result<Part> {
        Ok(Part { at: u64::from_le_bytes(number(&mut bytes)?), length: u32::from_le_bytes(number(&mut bytes)?) })
    }
}

/// The bytes of a part; none without members.
fn part_of(before: Part, members: &[Member<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(Part::HEAD + members.iter().map(Member::size).sum::<usize>());
    if !members.is_empty() {
        bytes.extend_from_slice(&before.at.to_le_bytes());
        bytes.extend_from_slice(&before.length.to_le_bytes());
        members.iter().for_each(|member| member.write(&mut bytes));
    }
    bytes
}

impl Disk {
    fn new(folder: &Path) -> Self {
        Disk { folder: folder.to_path_buf(), spool: None, file: None, ahead: Ahead::default(), live: 0 }
    }

    /// Keeps members behind a part; without any, the last part is still that one.
    fn push(&mut self, before: Part, members: &[Member<'_>]) -> io::Result<Part> {
        if members.is_empty() { Ok(before) } else { self.keep(&part_of(before, members)) }
    }

    /// Keeps the bytes of a part; what is kept may be read once it is shared.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<Part> {
        if bytes.is_empty() {
            return Ok(Part::default());
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::new(&self.folder)?),
        };
        let Extent { at, length } = spool.push(bytes)?;
        self.live += u64::from(length);
        Ok(Part { at, length })
    }

    fn share(&mut self) -> io::Result<()> {
        if let Some(spool) = &mut self.spool {
            self.file = Some((spool.share()?, spool.len()));
        }
        Ok(())
    }

    /// Adds a part, and those before it.
    fn read(&mut self, mut part: Part, parts: &mut Vec<Vec<u8>>) -> io::Result<()> {
        while part.length > 0 {
            let bytes = self.get(part.at, part.length)?;
            part = Part::before(&bytes)?;
            parts.push(bytes);
        }
        Ok(())
    }

    /// A part, and those before it, are wanted no more.
    fn forget(&mut self, mut part: Part) -> io::Result<()> {
        while part.length > 0 {
            self.live -= u64::from(part.length);
            part = Part::before(&self.get(part.at, Part::HEAD as u32)?)?;
        }
        Ok(())
    }

    fn get(&mut self, at: u64, length: u32) -> io::Result<Vec<u8>> {
        let Some((file, end)) = &self.file else { return Err(io::Error::other("no spool")) };
        self.ahead.get(file, *end, Extent { at, length })
    }

    fn is_wasteful(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| spool.len() > 2 * self.live + GARBAGE)
    }
}
