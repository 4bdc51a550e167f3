//! What a run leaves on disk for people and for other programs: one format per file.
//!
//! Plain functions over records. Nothing here knows a stream, and nothing here decides what is written: callers pass
//! pairs and facts that already hold. Whole files are replaced atomically ([`Error`] names the file that could not
//! be); only the two logs that grow while a trainer runs, [`metrics`] and [`tensorboard`], are appended to.

pub(crate) mod atomic;
pub mod card;
pub mod export;
pub(crate) mod growing;
pub mod jsonl;
pub mod llama_factory;
pub mod metrics;
pub mod model_card;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod report;
pub(crate) mod row;
pub mod serve;
pub mod shards;
mod side_by_side;
mod summary;
pub mod table;
mod template;
pub mod tensorboard;
pub mod train_log;

pub use side_by_side::side_by_side;
pub use summary::{CASES, Case, PairsSummary, Tally, summary};
pub use template::{duration, word};

use std::path::{Path, PathBuf};

use obvert_api::record::Pair;

use shards::Shard;

/// Writes one file of every format of the pairs into a folder: `pairs.jsonl`, `pairs.parquet`, `llama-factory/rpo.json`, or
/// one of the shards that take their place. `pairs` gives them from the beginning for each, so that a large set can stay where
/// it is.
///
/// # Errors
/// The first file that could not be written; the first pair that could not be read.
pub fn write_shard<I>(folder: &Path, shard: Shard, pairs: impl Fn() -> I) -> Result<(), Error>
where
    I: IntoIterator<Item = Result<Pair, Error>>,
{
    jsonl::write_pairs(&folder.join(shard.name("pairs", "jsonl")), pairs())?;
    #[cfg(feature = "parquet")]
    parquet::write_pairs(&folder.join(shard.name("pairs", "parquet")), pairs())?;
    llama_factory::write_shard(&folder.join("llama-factory"), shard, pairs())
}

/// Makes the shards that were written the set: says so where that is said, and removes those of another split.
///
/// # Errors
/// What the file system reports.
pub fn settle_shards(folder: &Path, of: u32) -> Result<(), Error> {
    llama_factory::settle_shards(&folder.join("llama-factory"), of)?;
    shards::remove_others(folder, "pairs", "jsonl", of)?;
    shards::remove_others(folder, "pairs", "parquet", of)
}

/// Replaces a file as a whole.
///
/// # Errors
/// What the file system reports.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    atomic::write(path, |out| out.write_all(bytes).map_err(Error::io(path)))
}

/// Why a file was not written, or not read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value has no JSON form, or a line is no JSON.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The Parquet writer refused.
    #[cfg(feature = "parquet")]
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ::parquet::errors::ParquetError,
    },
    /// What a file holds is not what this program left in it.
    #[error("{}: {cause}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A page could not be filled in.
    #[error("{}: {source:#}", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// The cause, with the template's line.
        source: minijinja::Error,
    },
    /// A pair breaks a rule of the format.
    #[error("{}: pair {pair}: {rule}", path.display())]
    Pair {
        /// The file.
        path: PathBuf,
        /// The pair's id.
        pair: String,
        /// The rule and how it is broken.
        rule: String,
    },
    /// A line of a log is not what this program writes.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },
}

impl Error {
    /// For `map_err` on calls of the file system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }

    /// For `map_err` on calls of serde_json, whose errors wrap those of the writer.
    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Json { path, source }
    }

    /// For `map_err` on calls of parquet and arrow.
    #[cfg(feature = "parquet")]
    fn parquet<E: Into<::parquet::errors::ParquetError>>(path: &Path) -> impl FnOnce(E) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Parquet { path, source: source.into() }
    }
}
