//! What a trainer writes down as it goes: `metrics.jsonl` and TensorBoard event files, the same rows in both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use obvert_trainer::Metrics;
use serde::Serialize;

use super::Error;
use super::metrics::MetricsFile;
use super::tensorboard::EventFile;

/// The log of one training run.
pub struct TrainLog {
    metrics: MetricsFile,
    folder: PathBuf,
    /// The step that logging goes on after.
    from: u64,
    /// Begun with the first row.
    events: Option<EventFile>,
}

impl TrainLog {
    /// Opens the log in `out`, for a run that goes on after `step` updates: later rows are dropped, they come again.
    pub fn open(out: &Path, step: u64) -> Result<Self, Error> {
        let metrics = MetricsFile::open(&out.join("metrics.jsonl"))?;
        let mut log = TrainLog { metrics, folder: out.join("tensorboard"), from: step, events: None };
        log.go_back(step)?;
        Ok(log)
    }

    /// Drops the rows after `step`, which are about to be logged again.
    pub fn go_back(&mut self, step: u64) -> Result<(), Error> {
        (self.from, self.events) = (step, None);
        self.metrics.truncate(step)
    }

    /// Logs the values of one step.
    pub fn append(&mut self, step: u64, row: &BTreeMap<String, f64>) -> Result<(), Error> {
        self.metrics.append(step, row)?;
        let events = match &mut self.events {
            Some(events) => events,
            // What earlier files hold of later steps belongs to a run that this one takes the place of.
            none => none.insert(EventFile::create(&self.folder, self.folder.exists().then_some(self.from))?),
        };
        events.scalars(step, row)
    }
}

/// The row of an update that took so many seconds.
pub fn row_of(metrics: &Metrics, seconds: f64) -> BTreeMap<String, f64> {
    let mut row = columns("", metrics);
    row.insert("tokens/s".into(), metrics.tokens as f64 / seconds.max(1e-9));
    row
}

/// How many pairs have lost turns of their history so far, and how many could not be trained on.
pub fn counts(shortened: u64, rejected: u64) -> BTreeMap<String, f64> {
    [("pairs/shortened", shortened), ("pairs/rejected", rejected)].map(|(name, n)| (name.to_owned(), n as f64)).into()
}

/// The numbers of a record by name; what is not a number is left out.
pub fn columns(prefix: &str, record: &impl Serialize) -> BTreeMap<String, f64> {
    let value = serde_json::to_value(record).unwrap_or_default();
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((format!("{prefix}{name}"), value.as_f64()?))).collect()
}
