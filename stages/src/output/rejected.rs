//! Items that a stage could not handle: `rejected.jsonl`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, atomic, jsonl};

/// An item that was set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Name of the stage that could not handle it.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// The stage's input, as JSON.
    pub item: serde_json::Value,
}

/// Writes one item a line. An empty list leaves an empty file: nothing was rejected.
pub fn write(path: &Path, rejected: &[Rejected]) -> Result<(), Error> {
    atomic::write(path, |out| rejected.iter().try_for_each(|item| jsonl::line(path, out, item)))
}
