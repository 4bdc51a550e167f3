//! What can go wrong, each naming the file or field and the cause.

use std::path::{Path, PathBuf};

/// An error of the trainer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file was read but is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A field of a configuration has a value that makes no sense.
    #[error("{field}: {reason}")]
    Field {
        /// The field, as the file spells it.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A well-formed request for something this trainer does not do.
    #[error("{field} = {value} is not supported: {reason}")]
    Unsupported {
        /// The field, as the file spells it.
        field: String,
        /// Its value.
        value: String,
        /// What is supported instead.
        reason: String,
    },
    /// A tensor that the model needs is absent.
    #[error("tensor {name}: missing")]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A preference pair cannot be trained on.
    #[error("pair {index}: {reason}")]
    Pair {
        /// Its position in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A device failed.
    #[error(transparent)]
    Device(#[from] obvert_device::Error),
    /// A device failed at a block of the model.
    #[error("block {layer}: {source}")]
    Block {
        /// Its number, from 0.
        layer: usize,
        /// What the device says.
        source: obvert_device::Error,
    },
    /// Processes that work side by side cannot go on.
    #[error("{0}")]
    Peers(String),
    /// A computation left the range of floating-point numbers; the adapter is as it was before the step.
    #[error("step {step}: {what} is not finite ({value}); the adapter was left as it was")]
    NonFinite {
        /// The optimizer step that was being taken, from 1.
        step: u64,
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: f64,
    },
}

impl Error {
    /// An input or output error at a path.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// A file that is not what it should be.
    pub fn malformed(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.to_string() }
    }

    /// A field with a senseless value.
    pub fn field(field: &str, reason: impl std::fmt::Display) -> Self {
        Self::Field { field: field.to_owned(), reason: reason.to_string() }
    }

    /// A field that asks for something absent here.
    pub fn unsupported(field: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::Unsupported { field: field.to_owned(), value: value.to_string(), reason: reason.to_owned() }
    }
}
