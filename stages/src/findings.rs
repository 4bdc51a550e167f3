//! What views learn while they run, for the report and the account at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obvert_api::record::Pair;

use crate::output::{PairsSummary, report::ScoreRow};

/// Shared by the views of one run.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<Found>>);

/// The findings themselves.
#[derive(Debug, Default)]
pub struct Found {
    /// Counts of the final set of pairs.
    pub pairs: PairsSummary,
    /// A pair worth showing.
    pub example: Option<Pair>,
    /// One row per update.
    pub metrics: Vec<BTreeMap<String, f64>>,
    /// One row per model that was examined.
    pub scores: Vec<ScoreRow>,
    /// Pairs that the trainer could not use, with the reason.
    pub skipped: Vec<String>,
}

impl Findings {
    /// The findings, for reading or writing.
    pub fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
