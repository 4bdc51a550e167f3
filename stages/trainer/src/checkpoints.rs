//! The checkpoints of a run: the newest two, so that a damaged one leaves the one before it.

use std::path::{Path, PathBuf};

use serde_json::Value;

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

/// What was found when a run went on.
#[derive(Debug)]
pub struct Restored {
    /// The cursor saved with the checkpoint that was used; `None` where there was none to use.
    pub cursor: Option<Value>,
    /// Newer checkpoints that could not be used, and why.
    pub refused: Vec<Error>,
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

    /// Puts the trainer where the newest checkpoint that can be used left it.
    ///
    /// # Errors
    /// What the file system reports of the folder.
    pub fn restore<F: Real>(&self, trainer: &mut Trainer<F>) -> Result<Restored, Error> {
        let mut refused = Vec::new();
        for path in self.newest_first()? {
            match trainer.restore(&path) {
                Ok(cursor) => return Ok(Restored { cursor: Some(cursor), refused }),
                Err(error) => refused.push(error),
            }
        }
        Ok(Restored { cursor: None, refused })
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
