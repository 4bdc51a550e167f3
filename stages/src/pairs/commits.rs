//! The list of commits: which pairs each took away and added, and how long `changes.jsonl` was then.
//!
//! One JSON line a pair, and one at the end of each commit with a checksum over the others. A commit without it was not made.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use crc32c::{crc32c, crc32c_append};
use obvert_api::record::Pair;
use obvert_engine::spool::Extent;
use serde::{Deserialize, Serialize};

use crate::output::growing::Growing;
use crate::output::{Error, atomic, jsonl};
use crate::pair_set::Key;

/// What to do about files that do not hold what was committed.
pub(super) const ADVICE: &str =
    "put a copy back, or delete changes.jsonl and the list of its commits to begin a new one";
/// Lines that are not worth a shorter list.
const LINES: usize = 10_000;

/// What `changes.jsonl` says of a pair that goes: its id, dialogue and turn.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Name(pub(super) String, pub(super) String, pub(super) u32);

impl Name {
    pub(super) fn of(pair: &Pair) -> Self {
        Name(pair.id.clone(), pair.dialogue.clone(), pair.turn)
    }
}

/// The end of a commit.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) number: u64,
    /// Bytes of `changes.jsonl`.
    pub(super) changes: u64,
    /// Over the commit's other lines.
    checksum: u32,
}

#[derive(Serialize, Deserialize)]
enum Line {
    #[serde(rename = "+")]
    Came(Key, Name),
    #[serde(rename = "-")]
    Gone(Key),
    #[serde(rename = "commit")]
    Commit(Commit),
}

/// The pairs of the last commit, and where the list names each.
pub(super) type Committed = BTreeMap<Key, Extent>;

/// The list, open.
pub(super) struct Commits {
    file: Growing,
    /// The last commit that was made.
    pub(super) last: Commit,
    /// Over the lines of the one that is being made.
    checksum: u32,
}

impl Commits {
    /// Makes a list of no pairs, after the commit of this number, in place of what is at `path`.
    ///
    /// # Errors
    /// As of all that follow: what the file system reports.
    pub(super) fn begin(path: &Path, number: u64) -> Result<(), Error> {
        write(path, std::iter::empty(), Commit { number, ..Commit::default() })
    }

    /// Opens the list at `path`, without what is behind its last commit.
    ///
    /// # Errors
    /// Also a damaged line.
    pub(super) fn open(path: &Path) -> Result<(Self, Committed), Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let History { committed, last, end, lines } = history(path, &bytes)?;
        if lines > LINES + 2 * committed.len() {
            let entry = |at: &Extent| &bytes[at.at as usize..][..at.length as usize];
            write(path, committed.values().map(entry), last)?;
            return Commits::open(path);
        }
        Ok((Commits { file: Growing::open(path, end as u64)?, last, checksum: 0 }, committed))
    }

    /// What the list says of a pair.
    pub(super) fn name(&self, at: Extent) -> Result<Name, Error> {
        match serde_json::from_slice(&self.file.read(at)?) {
            Ok(Line::Came(_, name)) => Ok(name),
            _ => Err(self.file.refused("it was changed while it was in use")),
        }
    }

    /// The commit that is being made adds a pair.
    pub(super) fn came(&mut self, key: Key, name: Name) -> Result<(), Error> {
        self.append(&Line::Came(key, name))
    }

    /// The commit that is being made takes a pair away.
    pub(super) fn gone(&mut self, key: Key) -> Result<(), Error> {
        self.append(&Line::Gone(key))
    }

    fn append(&mut self, line: &Line) -> Result<(), Error> {
        self.checksum = crc32c_append(self.checksum, self.file.append(line)?);
        Ok(())
    }

    /// The commit is made once this returns, with so many bytes in `changes.jsonl`.
    pub(super) fn commit(&mut self, changes: u64) -> Result<(), Error> {
        let checksum = std::mem::take(&mut self.checksum);
        self.last = Commit { number: self.last.number + 1, changes, checksum };
        self.file.append(&Line::Commit(self.last))?;
        self.file.sync()
    }
}

/// What a list says.
#[derive(Default)]
struct History {
    committed: Committed,
    last: Commit,
    /// Where the last commit ends.
    end: usize,
    /// Lines up to there.
    lines: usize,
}

fn history(path: &Path, bytes: &[u8]) -> Result<History, Error> {
    let damaged = |line: usize| Error::Line { path: path.into(), line, cause: format!("it was changed; {ADVICE}") };
    let (mut history, mut pending, mut begin) = (History::default(), Vec::new(), 0);
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let at = Extent { at: begin as u64, length: line.len() as u32 };
        match line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok()) {
            Some(Line::Came(key, _)) => pending.push((key, Some(at))),
            Some(Line::Gone(key)) => pending.push((key, None)),
            Some(Line::Commit(commit)) if crc32c(&bytes[history.end..begin]) == commit.checksum => {
                pending.drain(..).for_each(|(key, at)| history.take(key, at));
                (history.last, history.end, history.lines) = (commit, begin + line.len(), index + 1);
            }
            Some(Line::Commit(_)) => return Err(damaged(history.lines + 1)),
            // Of a commit that was not made; were it of another one, that one's checksum would tell.
            None => {}
        }
        begin += line.len();
    }
    if history.lines > 0 { Ok(history) } else { Err(damaged(1)) }
}

impl History {
    fn take(&mut self, key: Key, at: Option<Extent>) {
        match at {
            Some(at) => self.committed.insert(key, at),
            None => self.committed.remove(&key),
        };
    }
}

/// Puts a list in place of another.
fn write<'a>(path: &Path, entries: impl Iterator<Item = &'a [u8]>, last: Commit) -> Result<(), Error> {
    atomic::write(path, |out| {
        let mut checksum = 0;
        for entry in entries {
            checksum = crc32c_append(checksum, entry);
            out.write_all(entry).map_err(Error::io(path))?;
        }
        jsonl::line(path, out, &Line::Commit(Commit { checksum, ..last }))
    })
}
