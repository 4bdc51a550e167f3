//! What views learn while they run, for the report and the account at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obvert_api::record::Pair;
use obvert_eval::table::Row;
use serde::{Deserialize, Serialize};

use crate::benchmark::Benchmark;
use crate::diversity::Diversity;
use crate::output::PairsSummary;
use crate::pairs::Terms;

/// Shared by the views of one run.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<Found>>);

/// The findings themselves.
#[derive(Debug, Default)]
pub struct Found {
    /// What each sink of pairs holds, by its stage.
    pub pairs: BTreeMap<String, SetOfPairs>,
    /// One row per update, by the stage that trains.
    pub metrics: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
    /// What was examined, by the stage that scores.
    pub scores: BTreeMap<String, Examined>,
    /// The scores of benchmarks, by the stage that scores.
    pub benchmarks: BTreeMap<String, Benchmark>,
    /// How varied dialogues are, where a stage looks at that.
    pub diversity: Option<Diversity>,
    /// What became of the pairs, by the stage that trains.
    pub trainings: BTreeMap<String, Training>,
}

/// How far a trainer has come, and what became of the pairs that it was told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Updates that were made.
    pub updates: u64,
    /// Updates that it is set to make, over which its learning rate goes down.
    pub planned: u64,
    /// Pairs that it could not use.
    pub skipped: Skipped,
    /// Pairs that it used with a shortened history.
    pub shortened: u64,
    /// Pairs that came after the last update.
    pub unused: u64,
}

/// Models that answered the same dialogues.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// One row per model.
    pub rows: Vec<Row>,
    /// The method that the others are held against in tables.
    pub against: Option<String>,
}

/// What a sink of pairs holds.
#[derive(Clone, Debug, Default)]
pub struct SetOfPairs {
    /// Where its files are.
    pub folder: PathBuf,
    /// What is said of the pairs in the pipeline.
    pub terms: Terms,
    /// Counts of the final set.
    pub summary: PairsSummary,
    /// A pair of each case that occurs: in front the one that is most worth showing, the others by case.
    pub examples: Vec<Pair>,
}

/// Pairs that a trainer could not use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many.
    pub pairs: u64,
    /// The first one's id and the reason.
    pub first: String,
}

impl Skipped {
    pub(crate) fn count(&mut self, reason: &str) {
        *self = self.and(&Skipped { pairs: 1, first: reason.to_string() });
    }

    /// Both together.
    pub(crate) fn and(&self, later: &Skipped) -> Skipped {
        let first = if self.pairs == 0 { &later.first } else { &self.first };
        Skipped { pairs: self.pairs + later.pairs, first: first.clone() }
    }
}

impl Findings {
    /// The findings, for reading or writing.
    pub fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
