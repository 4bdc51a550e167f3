//! A model and an adapter for it, as arguments.

use std::path::PathBuf;

use obvert_trainer::load::Checkpoint;
use obvert_trainer::place::Place;
use obvert_trainer::{Adapter, Model, Storage, peft};

/// A setting of the trainer by its name in files.
pub fn named<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|e| e.to_string())
}

/// Which model, and which adapter.
#[derive(clap::Args)]
pub struct ModelArguments {
    /// A Hugging Face folder or a GGUF file.
    #[arg(long)]
    pub model: PathBuf,
    /// A PEFT folder; without one there is no adapter, and training starts from a new one.
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// How the model's weights are kept in memory: f32; bf16, which rounds them and takes half; or file, as the file has
    /// them: exact, and least for quantised ones.
    #[arg(long, value_parser = named::<Storage>, default_value = "f32")]
    pub storage: Storage,
    /// Where it is computed: cpu, auto (the first GPU, or the CPU where there is none), or cuda:N. A GPU stores bf16.
    #[arg(long, default_value_t = Place::Cpu)]
    pub device: Place,
}

impl ModelArguments {
    /// Opens the checkpoint, which tells the model from others, and loads the adapter. The model's weights are not read.
    pub fn look(&self) -> anyhow::Result<(Checkpoint, Option<Adapter<f32>>)> {
        let checkpoint = Checkpoint::open(&self.model)?.stored(self.storage);
        let adapter = self.adapter.as_deref().map(|folder| peft::load(folder, &checkpoint.config)).transpose()?;
        Ok((checkpoint, adapter))
    }

    /// Loads both.
    pub fn open(&self) -> anyhow::Result<(Checkpoint, Model<f32>, Option<Adapter<f32>>)> {
        let (checkpoint, adapter) = self.look()?;
        let model = checkpoint.model()?;
        Ok((checkpoint, model, adapter))
    }
}
