//! The records that flow between stages.
//!
//! A record is self-contained: a stage sees one record (or one group of them) and nothing else. Ids are stable:
//! they derive from content and lineage, so that the same input gives the same ids in every run.

mod correction;
mod dialogue;
mod pair;
mod profile;
mod standard;

pub use correction::{Correction, Veto};
pub use dialogue::{Judged, Message, Response, Session, Turn, Verdict};
pub use pair::{Adapter, Pair, PairConstraint};
pub use profile::{Constraint, Persona, Profile, Reversal};
pub use standard::{STANDARD, Standard, Translate, standard};

use serde::{Serialize, de::DeserializeOwned};

/// A type that may flow along an edge of the graph.
///
/// **Contract**: `NAME` is unique among the types of a pipeline and changes when the layout changes; two stages
/// are connected only if the names agree. The serde form must survive bincode: no `flatten`, no `untagged`, no
/// skipped fields (defaults are fine). What is decoded is what was encoded: between stages that are run as one a record is
/// neither.
pub trait Record: Serialize + DeserializeOwned + Send + 'static {
    /// The type's name on both sides of an edge, such as `"Turn"`.
    const NAME: &'static str;
}

/// An answer is complete unless it says otherwise.
fn whole() -> bool {
    true
}

/// The record of an input that a stage does not have.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Nothing {}

impl Record for Nothing {
    const NAME: &'static str = "Nothing";
}

impl Record for crate::Json {
    const NAME: &'static str = "Json";
}

/// A stable id: the first 16 hexadecimal digits of the BLAKE3 hash of the parts, each preceded by its length.
pub fn id_of(parts: &[&str]) -> String {
    format!("{:016x}", hash_of(parts))
}

/// A number from 0 to 1 that is the same for the same parts, and as good as uniform over different ones.
pub fn draw(parts: &[&str]) -> f64 {
    hash_of(parts) as f64 / u64::MAX as f64
}

/// The number that [`id_of`] writes.
pub fn hash_of(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().as_bytes().first_chunk().copied().map_or(0, u64::from_be_bytes)
}
