//! Log-probs under the reference, computed once per pair and kept on disk.
//!
//! The reference is frozen, so its log-probs are constants of (base model, adapter at the start, tokens of the pair), and
//! in their last bits of the size of a pass. The file holds one record of 36 bytes for each, appended as soon as they are
//! known: a key over all of these, the two log-probs, a checksum over both. A record that a crash tore, or that is damaged,
//! is computed again; nothing needs invalidating, since another model or pair has another key.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::gradient::ResponseLogps;
use crate::lora::Adapter;
use crate::pair::TokenPair;
use crate::peers;
use crate::real::Real;
use crate::train::Trainer;

/// Bytes of a record: key, chosen, rejected, checksum.
const RECORD: usize = 36;
/// Pairs between two writes: what a crash costs at most.
const BATCH: usize = 64;

type Key = [u8; 16];

/// The log-probs that are known.
#[derive(Debug)]
pub struct ReferenceCache {
    file: Option<(PathBuf, File)>,
    /// Hash of the base model, the adapter at the start and the size of a pass.
    identity: [u8; 32],
    known: HashMap<Key, ResponseLogps>,
}

impl ReferenceCache {
    /// Opens the file, creating it if need be, for the reference of a trainer; `base` tells its base model from others. Without a
    /// file what is computed is known as long as this lives.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn open<F: Real>(path: Option<&Path>, base: &str, trainer: &Trainer<F>) -> Result<Self, Error> {
        let identity = identity(base, trainer);
        let Some(path) = path else { return Ok(Self { file: None, identity, known: HashMap::new() }) };
        let bytes = if path.exists() { std::fs::read(path).map_err(|e| Error::io(path, e))? } else { Vec::new() };
        let (records, torn) = bytes.as_chunks::<RECORD>();
        let known = records.iter().filter_map(decode).collect();
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|e| Error::io(path, e))?;
        // Records are found by counting bytes: the next one begins where a whole one ends.
        let whole = (bytes.len() - torn.len()) as u64;
        file.set_len(whole).map_err(|e| Error::io(path, e))?;
        Ok(Self { file: Some((path.to_owned(), file)), identity, known })
    }

    /// The log-probs of every pair under the trainer's reference; those which are not known are computed and kept.
    ///
    /// # Errors
    /// A pair that does not fit the model, or what the file system reports.
    pub fn logps<F: Real>(
        &mut self,
        trainer: &mut Trainer<F>,
        pairs: &[TokenPair],
    ) -> Result<Vec<ResponseLogps>, Error> {
        if !trainer.settings().preference_loss().uses_reference() {
            return trainer.reference_logps(pairs);
        }
        let keys: Vec<Key> = pairs.iter().map(|pair| self.key(pair)).collect();
        let unknown = (0..pairs.len()).filter(|at| !self.known.contains_key(&keys[*at]));
        // Processes that work side by side compute together what the first one does not know.
        let unknown = peers::of_first(trainer.peers(), unknown.flat_map(|at| (at as u64).to_le_bytes()).collect())?;
        let unknown: Vec<usize> = unknown.as_chunks().0.iter().map(|at| u64::from_le_bytes(*at) as usize).collect();
        for batch in unknown.chunks(BATCH) {
            let wanted: Vec<TokenPair> = batch.iter().map(|at| pairs[*at].clone()).collect();
            let found = trainer.reference_logps(&wanted)?;
            let records: Vec<u8> = batch.iter().zip(&found).flat_map(|(at, logps)| encode(&keys[*at], logps)).collect();
            if let Some((path, file)) = &mut self.file {
                file.write_all(&records).map_err(|e| Error::io(path, e))?;
            }
            self.known.extend(batch.iter().map(|at| keys[*at]).zip(found));
        }
        let all = keys.iter().flat_map(|key| encode(key, &self.known.get(key).copied().unwrap_or_default()));
        let all = peers::of_first(trainer.peers(), all.collect())?;
        Ok(all.as_chunks::<RECORD>().0.iter().filter_map(decode).map(|(_, logps)| logps).collect())
    }

    fn key(&self, pair: &TokenPair) -> Key {
        let mut hasher = blake3::Hasher::new_keyed(&self.identity);
        for tokens in [&pair.prompt, &pair.chosen, &pair.rejected] {
            hasher.update(&(tokens.len() as u64).to_le_bytes());
            for token in tokens {
                hasher.update(&token.to_le_bytes());
            }
        }
        first(hasher.finalize().as_bytes())
    }
}

/// A hash over everything but the pair that the log-probs depend on.
fn identity<F: Real>(base: &str, trainer: &Trainer<F>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(trainer.settings().micro_tokens as u64).to_le_bytes());
    // A GPU rounds otherwise.
    hasher.update(trainer.settings().decisive().device.to_string().as_bytes());
    hasher.update(base.as_bytes());
    trainer.reference_adapter().into_iter().for_each(|adapter| hash_adapter(&mut hasher, adapter));
    hasher.finalize().into()
}

/// Everything that an adapter's output depends on.
pub(crate) fn hash_adapter<F: Real>(hasher: &mut blake3::Hasher, adapter: &Adapter<F>) {
    hasher.update(&adapter.alpha.to_le_bytes());
    for (name, matrix) in adapter.named_matrices() {
        hasher.update(name.as_bytes());
        let mut bytes = Vec::with_capacity(size_of_val(matrix.data.as_slice()));
        matrix.data.iter().for_each(|value| value.write_le(&mut bytes));
        hasher.update(&bytes);
    }
}

fn encode(key: &Key, logps: &ResponseLogps) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(key);
    record[16..24].copy_from_slice(&logps.chosen.to_le_bytes());
    record[24..32].copy_from_slice(&logps.rejected.to_le_bytes());
    let sum: [u8; 4] = first(blake3::hash(&record[..32]).as_bytes());
    record[32..].copy_from_slice(&sum);
    record
}

fn decode(record: &[u8; RECORD]) -> Option<(Key, ResponseLogps)> {
    let sum: [u8; 4] = first(blake3::hash(&record[..32]).as_bytes());
    let logps = ResponseLogps {
        chosen: f64::from_le_bytes(first(&record[16..])),
        rejected: f64::from_le_bytes(first(&record[24..])),
    };
    (record[32..] == sum).then(|| (first(record), logps))
}

/// The first N bytes of a slice that has as many.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| bytes[at])
}
