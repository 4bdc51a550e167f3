//! `changes.jsonl`: what every commit took away from the pairs and added to them, each change once, whatever became of the
//! process.
//!
//! A commit appends its lines, makes them durable, and then notes in the list of commits which pairs they are and how long the
//! file is. That note is the commit: whatever stands behind the last one is of a commit that was not made, and is dropped when
//! the files are opened.

use std::path::Path;

use obvert_api::record::Pair;
use obvert_engine::spool::Extent;
use serde::Serialize;

use super::commits::{ADVICE, Commits, Committed, Name};
use crate::output::Error;
use crate::output::growing::Growing;
use crate::output::row::Row;
use crate::pair_set::Key;

/// The file and the list, open.
pub(super) struct Changelog {
    changes: Growing,
    commits: Commits,
}

/// The line of a pair that goes.
#[derive(Serialize)]
struct Gone<'a> {
    commit: u64,
    diff: i8,
    id: &'a str,
    dialogue: &'a str,
    turn: u32,
}

/// The line of a pair that comes: its row.
#[derive(Serialize)]
struct Came<'a> {
    commit: u64,
    diff: i8,
    #[serde(flatten)]
    row: Row<'a>,
}

impl Changelog {
    /// Opens `changes` and the list `commits`; what they hold, each pair with the place to name it by.
    ///
    /// Without both a changelog begins. Where `changes` was deleted another one begins, at the next number: its first
    /// commit holds all pairs.
    ///
    /// # Errors
    /// A file that is damaged or does not fit the other; as of all that follow, what the file system reports.
    pub(super) fn open(changes: &Path, commits: &Path) -> Result<(Self, Committed), Error> {
        let found = length(changes)?;
        let refused = |cause: &str| Error::Refused { path: changes.into(), cause: format!("{cause}; {ADVICE}") };
        if length(commits)?.is_none() {
            match found {
                Some(1..) => return Err(refused(&format!("{} is not there", commits.display()))),
                _ => Commits::begin(commits, 0)?,
            }
        }
        let (list, committed) = Commits::open(commits)?;
        let expected = list.last.changes;
        match found {
            None if expected > 0 => {
                Commits::begin(commits, list.last.number).and_then(|()| Self::open(changes, commits))
            }
            Some(found) if found < expected => Err(refused(&format!("{found} bytes instead of {expected}"))),
            _ => Ok((Changelog { changes: Growing::open(changes, expected)?, commits: list }, committed)),
        }
    }

    /// What the list says of a pair that it held when it was opened.
    pub(super) fn name(&self, at: Extent) -> Result<Name, Error> {
        self.commits.name(at)
    }

    /// The next commit takes a pair away.
    pub(super) fn gone(&mut self, key: Key, name: &Name) -> Result<(), Error> {
        let Name(id, dialogue, turn) = name;
        self.changes.append(&Gone { commit: self.next(), diff: -1, id, dialogue, turn: *turn })?;
        self.commits.gone(key)
    }

    /// The next commit adds a pair.
    pub(super) fn came(&mut self, key: Key, pair: &Pair) -> Result<(), Error> {
        self.changes.append(&Came { commit: self.next(), diff: 1, row: Row::from(pair) })?;
        self.commits.came(key, Name::of(pair))
    }

    /// Makes the commit.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        self.changes.sync()?;
        self.commits.commit(self.changes.length())
    }

    /// The last commit.
    pub(super) fn number(&self) -> u64 {
        self.commits.last.number
    }

    fn next(&self) -> u64 {
        self.number() + 1
    }
}

/// Bytes of a file, if it is there.
fn length(path: &Path) -> Result<Option<u64>, Error> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        found => found.map(|found| Some(found.len())).map_err(Error::io(path)),
    }
}
