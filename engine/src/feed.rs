//! The rows of a source as they are in the dataflow: what its files say now is compared with what they said before, so that an
//! edit is a few changes and not another run.
//!
//! A row is known by its key, not by its line: an edited row keeps its place, a new one comes after all that were ever there.
//! So what was trained on stays the beginning of what is trained on.

mod places;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::dataflow::{Item, Place, Rejected};
use crate::registry::Row;
use crate::spool::{Extent, Spool};
use places::Places;

/// A row in the dataflow: a record, or what it found instead and why that will not do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fed {
    Item(Item),
    Rejected(Rejected),
}

impl Fed {
    pub(crate) fn item(&self) -> &Item {
        match self {
            Fed::Item(item) | Fed::Rejected((item, _)) => item,
        }
    }
}

/// Changes of the dataflow.
pub(crate) type Changes = Vec<(Fed, isize)>;

/// The rows of one source.
pub(crate) struct Feed {
    /// The source's index: the sources of a plan follow each other.
    source: usize,
    places: Places,
    /// Rows, by their places, that the reading at hand has not come across.
    unseen: BTreeSet<u64>,
    kept: Option<Kept>,
}

/// What was fed, for a source that is read again: what it says now tells no more what it said.
struct Kept {
    rows: Vec<Option<(u64, Extent)>>,
    spool: Spool,
}

impl Feed {
    /// No rows yet; their places are kept at `path`. With a folder for what is fed it can be read several times.
    pub(crate) fn open(source: usize, path: &Path, spill: Option<&Path>) -> io::Result<Self> {
        let places = Places::open(path)?;
        let kept = spill.map(|folder| Ok::<_, io::Error>(Kept { rows: Vec::new(), spool: Spool::new(folder)? }));
        Ok(Feed { source, places, unseen: BTreeSet::new(), kept: kept.transpose()? })
    }

    /// A reading begins.
    pub(crate) fn begin(&mut self) {
        self.unseen = (0..self.places.len()).collect();
    }

    /// Adds what a row that was read changes.
    pub(crate) fn row(&mut self, row: Row, changes: &mut Changes) -> io::Result<()> {
        let at = self.place(&row.key)?;
        let place = Place::of_row(self.source, at);
        let fed = match row.record {
            Ok(record) => Fed::Item(Item { place, bytes: record.into() }),
            Err((found, reason)) => Fed::Rejected((Item { place, bytes: found.into_bytes().into() }, reason)),
        };
        let before = match &mut self.kept {
            Some(kept) => match kept.replace(at, Some(&fed), place)? {
                Replaced::Same => return Ok(()),
                Replaced::Other(before) => before,
            },
            None => None,
        };
        changes.extend(before.map(|before| (before, -1)));
        changes.push((fed, 1));
        Ok(())
    }

    /// The reading is at its end: adds the withdrawal of what it has not come across. Places are on disk when this returns.
    pub(crate) fn end(&mut self, changes: &mut Changes) -> io::Result<()> {
        if let Some(kept) = &mut self.kept {
            for at in std::mem::take(&mut self.unseen) {
                if let Replaced::Other(Some(before)) = kept.replace(at, None, Place::of_row(self.source, at))? {
                    changes.push((before, -1));
                }
            }
        }
        self.places.keep()
    }

    /// Keeps the places of a reading that is broken off: what is known of its rows may have been used.
    pub(crate) fn break_off(&mut self) -> io::Result<()> {
        self.places.keep()
    }

    /// The first place that a row of the reading at hand may still take.
    pub(crate) fn lowest(&self) -> Place {
        Place::of_row(self.source, self.unseen.first().copied().unwrap_or(self.places.len()))
    }

    /// The place of a row of that key: the n-th of several in one reading has the n-th of theirs.
    fn place(&mut self, key: &[u8]) -> io::Result<u64> {
        let (known, mut nth) = (self.places.len(), 0);
        loop {
            let at = self.places.place(key, nth)?;
            if at >= known || self.unseen.remove(&at) {
                return Ok(at);
            }
            nth += 1;
        }
    }
}

enum Replaced {
    Same,
    Other(Option<Fed>),
}

impl Kept {
    /// Puts another row in place of one, or nothing.
    fn replace(&mut self, at: u64, fed: Option<&Fed>, place: Place) -> io::Result<Replaced> {
        let at = at as usize;
        if self.rows.len() <= at {
            self.rows.resize(at + 1, None);
        }
        let bytes = fed.map(packed).transpose()?;
        let hash = bytes.as_ref().map(|bytes| hash(bytes));
        let before = self.rows[at];
        if before.map(|(hash, _)| hash) == hash {
            return Ok(Replaced::Same);
        }
        self.rows[at] = match (bytes, hash) {
            (Some(bytes), Some(hash)) => Some((hash, self.spool.push(&bytes)?)),
            _ => None,
        };
        let before = before.map(|(_, extent)| unpacked(&self.spool.get(extent)?, place));
        before.transpose().map(Replaced::Other)
    }
}

/// A reason and a length in front of the bytes; no reason where it is a record.
fn packed(fed: &Fed) -> io::Result<Vec<u8>> {
    let row = match fed {
        Fed::Item(item) => (&*item.bytes.0, None),
        Fed::Rejected((item, reason)) => (&*item.bytes.0, Some(reason)),
    };
    bincode::serde::encode_to_vec(row, bincode::config::standard()).map_err(io::Error::other)
}

fn unpacked(bytes: &[u8], place: Place) -> io::Result<Fed> {
    let row = bincode::serde::decode_from_slice::<(Vec<u8>, Option<String>), _>(bytes, bincode::config::standard());
    let (bytes, reason) = row.map_err(io::Error::other)?.0;
    let item = Item { place, bytes: bytes.into() };
    Ok(match reason {
        None => Fed::Item(item),
        Some(reason) => Fed::Rejected((item, reason)),
    })
}

fn hash(bytes: &[u8]) -> u64 {
    blake3::hash(bytes).as_bytes()[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows<'a> = &'a [(&'a str, &'a str)];
    type Shown = Vec<(u64, String, isize)>;

    /// What changes where the source has these rows now: texts with their lines and what becomes of them, in order.
    fn replace(feed: &mut Feed, rows: Rows) -> Shown {
        let mut changes = Changes::new();
        feed.begin();
        for (key, text) in rows {
            let row = Row { key: key.as_bytes().to_vec(), record: Ok(text.as_bytes().to_vec()) };
            feed.row(row, &mut changes).unwrap();
        }
        feed.end(&mut changes).unwrap();
        changes.sort();
        let text = |item: &Item| String::from_utf8_lossy(&item.bytes.0).into_owned();
        let show = |(fed, diff): (Fed, isize)| (fed.item().place.root / Place::ROW, text(fed.item()), diff);
        changes.into_iter().map(show).collect()
    }

    fn expect(found: Shown, expected: &[(u64, &str, isize)]) {
        let expected: Vec<_> = expected.iter().map(|(line, text, diff)| (*line, text.to_string(), *diff)).collect();
        assert_eq!(found, expected);
    }

    fn opened(folder: &Path) -> Feed {
        Feed::open(0, &folder.join("rows.keys"), Some(folder)).unwrap()
    }

    #[test]
    fn an_edit_is_the_rows_that_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = opened(folder.path());
        let rows: Rows = &[("a", "1"), ("b", "2"), ("c", "3")];
        expect(replace(&mut feed, rows), &[(0, "1", 1), (1, "2", 1), (2, "3", 1)]);
        expect(replace(&mut feed, rows), &[]);
        // b is edited, c goes, d comes, and all stand in another order.
        let edited: Rows = &[("d", "4"), ("b", "5"), ("a", "1")];
        expect(replace(&mut feed, edited), &[(1, "2", -1), (1, "5", 1), (2, "3", -1), (3, "4", 1)]);
        // Another run finds each where it was; c comes back where it was.
        let mut feed = opened(folder.path());
        expect(replace(&mut feed, &[("c", "3"), ("d", "4")]), &[(2, "3", 1), (3, "4", 1)]);
    }

    #[test]
    fn rows_of_one_key_are_told_apart_by_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = opened(folder.path());
        expect(replace(&mut feed, &[("a", "1"), ("a", "1"), ("a", "2")]), &[(0, "1", 1), (1, "1", 1), (2, "2", 1)]);
        expect(replace(&mut feed, &[("a", "1"), ("a", "2")]), &[(1, "1", -1), (1, "2", 1), (2, "2", -1)]);
    }

    #[test]
    fn the_lowest_place_is_that_of_a_row_that_may_still_come() {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = opened(folder.path());
        replace(&mut feed, &[("a", "1"), ("b", "2")]);
        feed.begin();
        let (mut changes, line) = (Changes::new(), |feed: &Feed| feed.lowest().root / Place::ROW);
        for (key, lowest) in [("b", 0), ("c", 0), ("a", 3)] {
            feed.row(Row { key: key.into(), record: Ok(Vec::new()) }, &mut changes).unwrap();
            assert_eq!(line(&feed), lowest);
        }
    }
}
