//! The adapters that were handed out while learning, each after so many pairs: in a run that goes on they are handed out again as
//! the pairs are told again, so that its dialogues are the same.

use std::fs;
use std::path::{Path, PathBuf};

use obvert_api::record::Adapter;
use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use crate::output::{Error, write_atomically};

/// An adapter, and the pairs that it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    pairs: u64,
    chain: String,
    adapter: Adapter,
}

/// All of them, in order; on disk too.
pub(super) struct Refreshed {
    path: PathBuf,
    /// Updates between two.
    every: Option<u64>,
    rows: Vec<Row>,
    /// How many were met again so far.
    pub(super) met: usize,
}

/// What a point among the pairs is to a learner that is told them again.
pub(super) enum Met {
    /// Nothing was handed out there.
    Nothing,
    /// This was handed out there.
    Again(Adapter),
    /// Something was handed out before, after other pairs.
    Others,
}

impl Refreshed {
    /// Those that the file names, of which as many are wanted, in the folder of adapters, which may have been moved since.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn open(path: &Path, adapters: &Path, every: Option<u64>) -> Result<Self, Error> {
        let text = if path.exists() { fs::read_to_string(path).map_err(Error::io(path))? } else { String::new() };
        let rows = text.lines().map_while(|line| serde_json::from_str::<Row>(line).ok());
        let rows = rows.map(|mut row| {
            row.adapter.path = adapters.join(&row.adapter.version).to_string_lossy().into_owned();
            row
        });
        let due = |row: &Row| every.is_some_and(|every| row.adapter.steps.is_multiple_of(every));
        Ok(Refreshed { path: path.into(), every, rows: rows.filter(due).collect(), met: 0 })
    }

    /// Whether an adapter is to be handed out after so many updates.
    pub(super) fn is_due(&self, step: u64) -> bool {
        self.every.is_some_and(|every| step.is_multiple_of(every))
    }

    /// Whether one of those up to an update is not there any more.
    pub(super) fn lacks(&self, step: u64) -> bool {
        let there = self.rows.iter().filter(|row| row.adapter.steps <= step && Path::new(&row.adapter.path).is_dir());
        self.every.is_some_and(|every| (there.count() as u64) < step / every)
    }

    /// Notes one that is handed out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn note(&mut self, cursor: &Cursor, adapter: &Adapter) -> Result<(), Error> {
        self.rows.push(Row { pairs: cursor.pairs, chain: cursor.chain.clone(), adapter: adapter.clone() });
        self.met = self.rows.len();
        self.write()
    }

    /// Forgets those after an update.
    ///
    /// # Errors
    /// As [`Refreshed::note`].
    pub(super) fn go_back(&mut self, step: u64) -> Result<(), Error> {
        let before = self.rows.len();
        self.rows.retain(|row| row.adapter.steps <= step);
        self.met = self.met.min(self.rows.len());
        if self.rows.len() < before { self.write() } else { Ok(()) }
    }

    /// The pairs are told from the first.
    pub(super) fn begin_again(&mut self) {
        self.met = 0;
    }

    /// What was handed out after these pairs.
    pub(super) fn meet(&mut self, cursor: &Cursor) -> Met {
        match self.rows.get(self.met).filter(|next| next.pairs <= cursor.pairs) {
            None => Met::Nothing,
            Some(next) if next.chain == cursor.chain => {
                self.met += 1;
                Met::Again(next.adapter.clone())
            }
            Some(_) => Met::Others,
        }
    }

    fn write(&self) -> Result<(), Error> {
        let line = |row| serde_json::to_string(row).map(|line| line + "\n").map_err(Error::json(&self.path));
        let text = self.rows.iter().map(line).collect::<Result<String, _>>()?;
        write_atomically(&self.path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_is_met_again_after_the_same_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("versions.jsonl");
        let adapter = |steps| {
            fs::create_dir_all(folder.path().join(format!("v{steps}"))).unwrap();
            Adapter { version: format!("v{steps}"), path: String::new(), steps }
        };
        let cursor = |pairs, chain: &str| Cursor { pairs, chain: chain.into(), ..Cursor::default() };
        let mut first = Refreshed::open(&path, folder.path(), Some(2)).unwrap();
        for (steps, pairs, chain) in [(2, 8, "a"), (4, 16, "b"), (6, 24, "c")] {
            first.note(&cursor(pairs, chain), &adapter(steps)).unwrap();
        }
        first.go_back(5).unwrap();
        let mut again = Refreshed::open(&path, folder.path(), Some(2)).unwrap();
        assert!(!again.lacks(5) && again.lacks(6) && again.is_due(6) && !again.is_due(7));
        assert!(matches!(again.meet(&cursor(4, "x")), Met::Nothing));
        assert!(matches!(again.meet(&cursor(8, "a")), Met::Again(Adapter { steps: 2, .. })));
        assert!(matches!(again.meet(&cursor(12, "x")), Met::Nothing));
        assert!(matches!(again.meet(&cursor(16, "other")), Met::Others));
        // Who hands out half as often has half of them.
        let rarer = Refreshed::open(&path, folder.path(), Some(4)).unwrap();
        assert_eq!((rarer.rows.len(), rarer.lacks(4), rarer.lacks(8)), (1, false, true));
        assert!(!Refreshed::open(&path, folder.path(), None).unwrap().lacks(100));
    }
}
