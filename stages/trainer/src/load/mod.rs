//! Reading models: weights and configuration ([`Checkpoint`]), text to tokens ([`Tokenizer`]), conversations to text
//! ([`ChatTemplate`]) and to tokens ([`Dialect`]); each from a Hugging Face folder or a GGUF file.

mod chat;
mod companions;
mod dialect;
mod folder;
mod gguf;
mod gguf_model;
mod gguf_tokenizer;
mod json;
mod python;
pub mod quant;
mod safetensors;
mod source;
mod tokenizer;

use std::path::Path;
use std::sync::OnceLock;

pub use chat::{ChatTemplate, Message};
pub use companions::{COMPANIONS, Companions};
pub use dialect::Dialect;
pub(crate) use gguf_model::{gguf_module, in_gguf_order};
pub use tokenizer::Tokenizer;

use crate::model::Tensors;
use crate::{Config, Error, Model, Projection, Storage, Weight};
use folder::Folder;
use gguf::GgufFile;
use quant::GgmlType;

/// A model's files, opened: the configuration is read, the tensors are read when they are asked for.
pub struct Checkpoint {
    /// The model's shape. Ends of text named in generation_config.json are among `eos`.
    pub config: Config,
    format: Format,
    storage: Storage,
    identity: OnceLock<String>,
}

enum Format {
    Folder(Folder),
    Gguf(GgufFile),
}

impl Checkpoint {
    /// Opens a Hugging Face folder, or a GGUF file.
    ///
    /// # Errors
    /// Names the file, the field or tensor, and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (config, format) = if path.is_dir() {
            let folder = Folder::open(path)?;
            (folder.config.clone(), Format::Folder(folder))
        } else {
            let file = GgufFile::open(path)?;
            (gguf_model::config(&file)?, Format::Gguf(file))
        };
        Ok(Self { config, format, storage: Storage::F32, identity: OnceLock::new() })
    }

    /// The same, with matrices that the model will keep as `storage` says. A model that is rounded is another one, and has
    /// another identity.
    #[must_use]
    pub fn stored(self, storage: Storage) -> Self {
        Self { storage, identity: OnceLock::new(), ..self }
    }

    /// Shape and values of a tensor under its Hugging Face name and in Hugging Face's layout, whatever the format.
    ///
    /// # Errors
    /// Names the file, the tensor, and what is wrong with it: absent, truncated, of a type that is not supported.
    pub fn take(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        match &self.format {
            Format::Folder(folder) => folder.take(name),
            Format::Gguf(file) => gguf_model::take(file, &self.config, name),
        }
    }

    /// The type of the blocks that a matrix is kept in, where it is.
    pub fn blocks(&self, layer: usize, projection: Projection) -> Option<GgmlType> {
        let (Storage::File, Format::Gguf(file)) = (self.storage, &self.format) else { return None };
        gguf_model::kind(file, &format!("model.layers.{layer}.{}.weight", projection.module()))
    }

    /// The whole model.
    ///
    /// # Errors
    /// As [`Checkpoint::take`], and where a tensor's shape is not what the configuration says.
    pub fn model(&self) -> Result<Model, Error> {
        Model::from_tensors(self.config.clone(), self.storage, self)
    }

    /// blake3 of configuration, weights and storage, in hexadecimal: the same contents give the same identity wherever they lie.
    /// The files are read once, when it is first asked for.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn identity(&self) -> Result<String, Error> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity.clone());
        }
        let mut hasher = blake3::Hasher::new();
        match &self.format {
            Format::Folder(folder) => folder.hash(&mut hasher)?,
            Format::Gguf(file) => file.source.hash(&mut hasher)?,
        }
        match self.storage {
            Storage::F32 => {}
            Storage::Bf16 => drop(hasher.update(b"bf16")),
            // The same numbers, but products of blocks of rows may round otherwise.
            Storage::File => drop(hasher.update(b"file")),
        }
        Ok(self.identity.get_or_init(|| hasher.finalize().to_hex().to_string()).clone())
    }
}

impl Tensors<f32> for &Checkpoint {
    fn values(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        self.take(name)
    }

    fn stored(&mut self, name: &str) -> Result<Option<Weight<f32>>, Error> {
        match &self.format {
            Format::Folder(folder) => folder.stored(name),
            Format::Gguf(file) => gguf_model::stored(file, &self.config, name),
        }
    }
}
