//! The checkpoints of a run: the newest two, so that a damaged one leaves the one before it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::checkpoint::{self, State};
use crate::error::Error;
use crate::real::Real;
use crate::train::Trainer;

/// Checkpoints that are kept.
const KEPT: usize = 2;

/// A folder of checkpoints, `step-NNNNNNNNNN.safetensors` each. A file comes into being by one rename, whole.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// What a folder holds.
#[derive(Debug)]
pub struct Found<F> {
    /// The newest whole checkpoint: the trainer's state, and the cursor saved with it.
    pub newest: Option<(State<F>, Value)>,
    /// Newer ones that are damaged, and how.
    pub damaged: Vec<Error>,
}

impl Checkpoints {
    /// The checkpoints in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Saves the trainer's state and drops all but the newest two, and those of later steps: a run that went back left
    /// them behind.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn save<F: Real>(&self, trainer: &Trainer<F>, cursor: &Value) -> Result<(), Error> {
        let saved = self.folder.join(format!("step-{:010}.safetensors", trainer.steps()));
        trainer.save(&saved, cursor)?;
        let (later, kept): (Vec<_>, Vec<_>) = self.newest_first()?.into_iter().partition(|path| *path > saved);
        remove(later.iter().chain(kept.iter().skip(KEPT)))
    }

    /// The newest checkpoint that is whole. Whose run it belongs to is for the caller to see from the cursor: only damage
    /// is passed over here, not what is merely of another run.
    ///
    /// # Errors
    /// What the file system reports; a checkpoint of another version of the format.
    pub fn find<F: Real>(&self) -> Result<Found<F>, Error> {
        self.find_where(|_| true)
    }

    /// The newest whole checkpoint whose cursor will do.
    ///
    /// # Errors
    /// As of `find`.
    pub fn find_where<F: Real>(&self, will_do: impl Fn(&Value) -> bool) -> Result<Found<F>, Error> {
        let mut damaged = Vec::new();
        for path in self.newest_first()? {
            match checkpoint::load(&path) {
                Ok((_, cursor)) if !will_do(&cursor) => {}
                Ok(saved) => return Ok(Found { newest: Some(saved), damaged }),
                Err(error @ (Error::Unsupported { .. } | Error::Io { .. })) => return Err(error),
                Err(error) => damaged.push(error),
            }
        }
        Ok(Found { newest: None, damaged })
    }

    /// Removes all checkpoints.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn clear(&self) -> Result<(), Error> {
        remove(self.newest_first()?.iter())
    }

    fn newest_first(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = std::fs::read_dir(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        let is_one = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("step-") && name.ends_with(".safetensors")
        };
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one).collect();
        // Steps are written with as many digits.
        files.sort_by(|a, b| b.cmp(a));
        Ok(files)
    }
}

fn remove<'a>(mut paths: impl Iterator<Item = &'a PathBuf>) -> Result<(), Error> {
    paths.try_for_each(|path| std::fs::remove_file(path).map_err(|e| Error::io(path, e)))
}
