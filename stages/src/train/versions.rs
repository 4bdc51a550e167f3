//! Where adapters are put when they are made: under the hash of their weights for the stages downstream, which tell versions
//! apart by it, and where people look for the newest.

use std::path::{Path, PathBuf};

use obvert_api::record::Adapter;
use obvert_engine::RunContext;
use obvert_trainer::{Trainer, peft};

/// The folder of a stage's newest adapter, in the stage's.
pub(super) const ADAPTER: &str = "adapter";

/// The version of a model without an adapter.
pub(crate) const BASE: &str = "base";

/// The stage that made a version, where several train; else the version itself.
pub(crate) fn stage_of(version: &str) -> &str {
    version.rsplit_once('-').filter(|(_, hash)| hash.len() == 16).map_or(version, |(stage, _)| stage)
}

/// A model's name by its file or folder.
pub(super) fn name_of(model: &Path) -> String {
    model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The folders of a run's adapters.
pub(super) struct Versions {
    by_hash: PathBuf,
    newest: PathBuf,
    /// What tells versions of this stage from those of others, where there are several.
    prefix: String,
    /// The base model's name in an adapter's card.
    base_model: String,
}

impl Versions {
    pub(super) fn new(model: &Path, context: &RunContext) -> Self {
        Versions {
            by_hash: context.out.join("state/adapters"),
            newest: context.folder().join(ADAPTER),
            prefix: if context.folder() == context.out { String::new() } else { format!("{}-", context.stage) },
            base_model: name_of(model),
        }
    }

    /// The model without an adapter.
    pub(super) fn base() -> Adapter {
        Adapter { version: BASE.into(), path: String::new(), steps: 0 }
    }

    /// Saves the trainer's adapter, as the newest.
    pub(super) fn save(&self, trainer: &Trainer<f32>) -> Result<Adapter, String> {
        let adapter = trainer.adapter().map_err(|e| e.to_string())?;
        peft::save(&self.newest, &adapter, Some(&self.base_model)).map_err(|e| e.to_string())?;
        self.keep(trainer)
    }

    /// Saves the trainer's adapter as one of several.
    pub(super) fn keep(&self, trainer: &Trainer<f32>) -> Result<Adapter, String> {
        let adapter = trainer.adapter().map_err(|e| e.to_string())?;
        let weights: Vec<u8> =
            adapter.matrices().flat_map(|m| m.data.iter().flat_map(|value| value.to_le_bytes())).collect();
        let version = format!("{}{}", self.prefix, &blake3::hash(&weights).to_hex()[..16]);
        let folder = self.by_hash.join(&version);
        peft::save(&folder, &adapter, Some(&self.base_model)).map_err(|e| e.to_string())?;
        Ok(Adapter { version, path: folder.to_string_lossy().into_owned(), steps: trainer.steps() })
    }
}
