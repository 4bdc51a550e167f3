//! Everything a run needs to go on, in one file: adapter, AdamW's moments, step, and the caller's cursor.
//!
//! The file is safetensors. Tensors are named `adapter.`, `first.` or `second.` and the matrix; the rest is JSON
//! in the header's metadata under one key, with a BLAKE3 checksum over it and all tensors: a damaged file is
//! refused rather than trained on.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::adamw::Moments;
use crate::error::Error;
use crate::lora::Adapter;
use crate::model::Matrix;
use crate::real::Real;
use crate::tensors::{Encoded, decode, parse, write_atomically};

/// The state of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct State<F = f32> {
    /// The adapter.
    pub adapter: Adapter<F>,
    /// The optimizer's moments.
    pub moments: Moments<F>,
    /// Updates made.
    pub step: u64,
}

const KEY: &str = "obvert_checkpoint";
const VERSION: u32 = 1;
const PARTS: [&str; 3] = ["adapter", "first", "second"];

/// The metadata entry: the header as text, so that what was hashed is what is read.
#[derive(serde::Serialize, serde::Deserialize)]
struct Envelope {
    checksum: String,
    header: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    version: u32,
    step: u64,
    rank: usize,
    /// In decimal, which Rust reads back to the same bits.
    alpha: String,
    layers: usize,
    cursor: Value,
}

/// Writes a checkpoint; the file is replaced at once or not at all.
///
/// # Errors
/// What the file system reports.
pub fn save<F: Real>(path: &Path, state: (&Adapter<F>, &Moments<F>, u64), cursor: &Value) -> Result<(), Error> {
    write_atomically(path, &to_bytes(state, cursor).map_err(|cause| Error::malformed(path, cause))?)
}

/// A checkpoint as its file holds it.
///
/// # Errors
/// Says what cannot be encoded.
pub fn to_bytes<F: Real>(
    (adapter, moments, step): (&Adapter<F>, &Moments<F>, u64),
    cursor: &Value,
) -> Result<Vec<u8>, String> {
    let tensors = encode([adapter, &moments.first, &moments.second]);
    let header = Header {
        version: VERSION,
        step,
        rank: adapter.rank,
        alpha: adapter.alpha.to_string(),
        layers: adapter.layers.len(),
        cursor: cursor.clone(),
    };
    let broken = |error: &dyn std::fmt::Display| format!("cannot be encoded: {error}");
    let header = serde_json::to_string(&header).map_err(|error| broken(&error))?;
    let checksum = checksum(&header, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.bytes.as_slice())));
    let envelope = serde_json::to_string(&Envelope { checksum, header }).map_err(|error| broken(&error))?;
    let metadata = HashMap::from([(KEY.to_owned(), envelope)]);
    let views = tensors.iter().map(|(name, tensor)| (name, tensor));
    safetensors::serialize(views, Some(metadata)).map_err(|error| broken(&error))
}

/// Reads a checkpoint: the state, and the cursor that was saved with it.
///
/// # Errors
/// Names the file and what is wrong with it; [`Error::Unsupported`] where the format has another version, whose checksum this
/// program cannot judge.
pub fn load<F: Real>(path: &Path) -> Result<(State<F>, Value), Error> {
    from_bytes(path, &std::fs::read(path).map_err(|source| Error::io(path, source))?)
}

/// Reads a checkpoint as a file holds it; `path` is for errors.
///
/// # Errors
/// As [`load`].
pub fn from_bytes<F: Real>(path: &Path, bytes: &[u8]) -> Result<(State<F>, Value), Error> {
    let tensors = parse(path, bytes)?;
    let header = verified_header(path, bytes, &tensors)?;
    let refuse = |reason: String| Error::malformed(path, reason);
    let alpha = header.alpha.parse().map_err(|_| refuse(format!("alpha is {:?}", header.alpha)))?;
    let part = |part: &str| {
        let named = matrices(&tensors, part).map_err(refuse)?;
        Adapter::from_named(header.layers, header.rank, alpha, named).map_err(|error| refuse(error.to_string()))
    };
    let [adapter, first, second] = PARTS.map(part);
    let state = State { adapter: adapter?, moments: Moments { first: first?, second: second? }, step: header.step };
    Ok((state, header.cursor))
}

fn verified_header(path: &Path, bytes: &[u8], tensors: &SafeTensors<'_>) -> Result<Header, Error> {
    let refuse = |reason: &str| Error::malformed(path, reason);
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| Error::malformed(path, error))?;
    let envelope = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let envelope = envelope.ok_or_else(|| refuse("not a checkpoint of this trainer"))?;
    let envelope: Envelope = serde_json::from_str(envelope).map_err(|error| Error::malformed(path, error))?;
    let header: Value = serde_json::from_str(&envelope.header).map_err(|error| Error::malformed(path, error))?;
    // First of all: another version may be checked in another way.
    if header["version"] != VERSION {
        let field = format!("{}: version", path.display());
        return Err(Error::unsupported(&field, &header["version"], &format!("this program reads {VERSION}")));
    }
    let mut views = tensors.tensors();
    views.sort_by(|(a, _), (b, _)| a.cmp(b));
    let found = checksum(&envelope.header, views.iter().map(|(name, view)| (name.as_str(), view.data())));
    if found != envelope.checksum {
        return Err(refuse("the checkpoint is damaged: its checksum does not match"));
    }
    serde_json::from_value(header).map_err(|error| Error::malformed(path, error))
}

/// All tensors of a state, sorted by name.
fn encode<F: Real>(parts: [&Adapter<F>; 3]) -> Vec<(String, Encoded)> {
    let tensors = PARTS.into_iter().zip(parts).flat_map(|(part, adapter)| {
        adapter.named_matrices().map(move |(name, matrix)| (format!("{part}.{name}"), Encoded::new(matrix)))
    });
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    tensors
}

fn matrices<F: Real>(tensors: &SafeTensors<'_>, part: &str) -> Result<Vec<(String, Matrix<F>)>, String> {
    let views = tensors.iter().filter_map(|(name, view)| Some((name.strip_prefix(part)?.strip_prefix('.')?, view)));
    views
        .map(|(name, view)| Ok((name.to_owned(), decode(&view).map_err(|reason| format!("{name} {reason}"))?)))
        .collect()
}

/// BLAKE3 over the header and every tensor, each preceded by its length.
fn checksum<'a>(header: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut absorb = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    absorb(header.as_bytes());
    for (name, bytes) in tensors {
        absorb(name.as_bytes());
        absorb(bytes);
    }
    hasher.finalize().to_hex().to_string()
}
