//! Which pairs each update was made on: `state/NAME.updates.jsonl`, a line per update.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output::Error;
use crate::output::growing::Growing;

/// The file, open.
pub(super) struct Updates {
    path: PathBuf,
    file: Growing,
}

/// An update.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Its number, from 1.
    pub step: u64,
    /// Ids of the pairs that it was the first one made on.
    pub pairs: Vec<String>,
    /// Ids of earlier pairs that it was made on again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<String>,
}

/// Where a stage of a run keeps them.
fn path_of(state: &Path, stage: &str) -> PathBuf {
    state.join(format!("{stage}.updates.jsonl"))
}

/// What is in the file, if there is one.
fn text_of(path: &Path) -> Result<String, Error> {
    if path.exists() { fs::read_to_string(path).map_err(Error::io(path)) } else { Ok(String::new()) }
}

/// The updates of a stage that trains that were made on a pair.
///
/// # Errors
/// The file cannot be read, or is not one.
pub fn updates_of(out: &Path, stage: &str, pair: &str) -> Result<Vec<Update>, Error> {
    let path = path_of(&out.join("state"), stage);
    let text = text_of(&path)?;
    // A line that is being written is none yet.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.contains(pair));
    let updates: Vec<Update> =
        whole.map(|line| serde_json::from_str(line).map_err(Error::json(&path))).collect::<Result<_, _>>()?;
    let has = |ids: &[String]| ids.iter().any(|id| id == pair);
    Ok(updates.into_iter().filter(|update| has(&update.pairs) || has(&update.again)).collect())
}

impl Updates {
    /// Goes on after `step` updates: later ones are dropped, they come again.
    pub(super) fn open(state: &Path, stage: &str, step: u64) -> Result<Self, Error> {
        let path = path_of(state, stage);
        let file = Growing::open(&path, until(&path, step)?)?;
        Ok(Updates { path, file })
    }

    pub(super) fn go_back(&mut self, step: u64) -> Result<(), Error> {
        self.file.sync()?;
        self.file = Growing::open(&self.path, until(&self.path, step)?)?;
        Ok(())
    }

    pub(super) fn note(&mut self, update: &Update) -> Result<(), Error> {
        self.file.append(update)?;
        self.file.flush()
    }

    /// Makes them durable: a checkpoint is not to be ahead of them.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync()
    }
}

/// Bytes of the updates up to this one.
fn until(path: &Path, step: u64) -> Result<u64, Error> {
    let text = text_of(path)?;
    let is_kept = |line: &&str| {
        line.ends_with('\n') && serde_json::from_str::<Update>(line).is_ok_and(|update| update.step <= step)
    };
    Ok(text.split_inclusive('\n').take_while(is_kept).map(|line| line.len() as u64).sum())
}
