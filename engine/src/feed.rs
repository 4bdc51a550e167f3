//! The rows of a source as they are in the dataflow: what its files say now is compared with what they said before, so that an
//! edit is a few changes and not another run.
//!
//! A row is known by its key, not by its line: an edited row keeps its place, a new one comes after all that were ever there.
//! So what was trained on stays the beginning of what is trained on. Keys are kept on disk in the order of their places.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::dataflow::{Event, Item, Place};
use crate::registry::Row;

/// A hash of a row's key, and of how many rows before it have the same.
type Key = [u8; 16];

/// The rows of one source.
pub(crate) struct Feed {
    /// The source's index: the sources of a plan follow each other.
    node: usize,
    places: Places,
    rows: HashMap<Key, Event>,
}

impl Feed {
    /// No rows yet; their places are kept at `path`.
    pub(crate) fn open(node: usize, path: &Path) -> io::Result<Self> {
        Ok(Feed { node, places: Places::open(path)?, rows: HashMap::new() })
    }

    /// What changes in the dataflow where the source has these rows now. Their places are on disk when this returns.
    pub(crate) fn replace(&mut self, rows: impl Iterator<Item = Row>) -> io::Result<Vec<(Event, isize)>> {
        let (mut next, mut copies) = (HashMap::new(), HashMap::<Key, u32>::new());
        for row in rows {
            let nth = copies.entry(hash(&row.key, 0)).or_default();
            let key = hash(&row.key, *nth);
            *nth += 1;
            let line = self.places.place(key);
            next.insert(key, self.event(line, row));
        }
        self.places.keep()?;
        Ok(self.exchange(next))
    }

    fn event(&self, line: u64, row: Row) -> Event {
        // A row may make up to 256 dialogues, each with a root of its own.
        let place = Place { root: (self.node as u64) << 48 | line << 8, lap: 0 };
        match row.record {
            Ok(record) => Event::Out(Item { place, bytes: record.into() }),
            Err((found, reason)) => Event::Rejected(Item { place, bytes: found.into_bytes().into() }, reason),
        }
    }

    /// Puts other rows in place of those that are there; what is new, and what is gone.
    fn exchange(&mut self, mut next: HashMap<Key, Event>) -> Vec<(Event, isize)> {
        std::mem::swap(&mut self.rows, &mut next);
        let old = next;
        let come = self.rows.iter().filter(|(key, event)| old.get(*key) != Some(*event));
        let gone = old.iter().filter(|(key, event)| self.rows.get(*key) != Some(*event));
        let come = come.map(|(_, event)| (event.clone(), 1));
        come.chain(gone.map(|(_, event)| (event.clone(), -1))).collect()
    }
}

fn hash(key: &[u8], nth: u32) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&nth.to_le_bytes());
    hasher.update(key);
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    hash
}

/// Places of rows: a key's is its position in the file, to which new ones are appended.
struct Places {
    file: File,
    known: HashMap<Key, u64>,
    /// Not in the file yet.
    new: Vec<Key>,
}

impl Places {
    fn open(path: &Path) -> io::Result<Self> {
        let bytes = if path.exists() { std::fs::read(path)? } else { Vec::new() };
        let (keys, torn) = bytes.as_chunks();
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        // A key that a crash tore was of a row that nothing has seen.
        file.set_len((bytes.len() - torn.len()) as u64)?;
        Ok(Places { file, known: keys.iter().copied().zip(0..).collect(), new: Vec::new() })
    }

    fn place(&mut self, key: Key) -> u64 {
        let next = self.known.len() as u64;
        *self.known.entry(key).or_insert_with(|| {
            self.new.push(key);
            next
        })
    }

    fn keep(&mut self) -> io::Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
        self.file.write_all(self.new.as_flattened())?;
        self.file.sync_all()?;
        self.new.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<'a>(rows: &'a [(&str, &str)]) -> impl Iterator<Item = Row> + use<'a> {
        let row =
            |(key, text): &(&str, &str)| Row { key: key.as_bytes().to_vec(), record: Ok(text.as_bytes().to_vec()) };
        rows.iter().map(row)
    }

    /// Texts with their lines and what becomes of them, in order.
    fn shown(mut changes: Vec<(Event, isize)>) -> Vec<(u64, String, isize)> {
        changes.sort();
        let show = |(event, diff): (Event, isize)| match event {
            Event::Out(item) => (item.place.root >> 8, String::from_utf8_lossy(&item.bytes.0).into_owned(), diff),
            other => panic!("{other:?}"),
        };
        changes.into_iter().map(show).collect()
    }

    fn expect(found: Vec<(Event, isize)>, expected: &[(u64, &str, isize)]) {
        let expected: Vec<_> = expected.iter().map(|(line, text, diff)| (*line, text.to_string(), *diff)).collect();
        assert_eq!(shown(found), expected);
    }

    #[test]
    fn an_edit_is_the_rows_that_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.keys");
        let mut feed = Feed::open(0, &path).unwrap();
        expect(
            feed.replace(rows(&[("a", "1"), ("b", "2"), ("c", "3")])).unwrap(),
            &[(0, "1", 1), (1, "2", 1), (2, "3", 1)],
        );
        expect(feed.replace(rows(&[("a", "1"), ("b", "2"), ("c", "3")])).unwrap(), &[]);
        // b is edited, c goes, d comes, and all stand in another order.
        expect(
            feed.replace(rows(&[("d", "4"), ("b", "5"), ("a", "1")])).unwrap(),
            &[(1, "2", -1), (1, "5", 1), (2, "3", -1), (3, "4", 1)],
        );
        // Another run finds each where it was; c comes back where it was.
        let mut feed = Feed::open(0, &path).unwrap();
        expect(feed.replace(rows(&[("c", "3"), ("d", "4")])).unwrap(), &[(2, "3", 1), (3, "4", 1)]);
    }

    #[test]
    fn rows_of_one_key_are_told_apart_by_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = Feed::open(0, &folder.path().join("rows.keys")).unwrap();
        expect(
            feed.replace(rows(&[("a", "1"), ("a", "1"), ("a", "2")])).unwrap(),
            &[(0, "1", 1), (1, "1", 1), (2, "2", 1)],
        );
        expect(feed.replace(rows(&[("a", "1"), ("a", "2")])).unwrap(), &[(1, "1", -1), (1, "2", 1), (2, "2", -1)]);
    }

    #[test]
    fn a_torn_key_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.keys");
        Feed::open(0, &path).unwrap().replace(rows(&[("a", "1"), ("b", "2")])).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..20]).unwrap();
        let mut feed = Feed::open(0, &path).unwrap();
        expect(feed.replace(rows(&[("c", "3"), ("a", "1")])).unwrap(), &[(0, "1", 1), (1, "3", 1)]);
    }
}
