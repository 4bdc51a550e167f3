//! What a learner writes down as it goes: rows for the log and the report, and what became of the pairs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use obvert_engine::RunContext;
use obvert_trainer::{Measures, Metrics};

use super::cursor::Cursor;
use super::updates::{self, Updates};
use crate::findings::{Findings, Training};
use crate::output::metrics;
use crate::output::train_log::{TrainLog, columns, counts, row_of};

/// The log of one learner, and its part of the run's findings.
pub(super) struct Diary {
    stage: String,
    out: PathBuf,
    log: TrainLog,
    updates: Updates,
    findings: Findings,
}

/// What there is to say of an update besides the trainer's metrics.
pub(super) struct Update {
    /// Dialogues were still being played when it was made.
    pub(super) open: bool,
    /// Ids of the new pairs that it was made on, and of earlier ones.
    pub(super) pairs: Vec<String>,
    pub(super) again: Vec<String>,
    pub(super) seconds: f64,
}

impl Diary {
    /// Goes on after `step` updates.
    pub(super) fn open(context: &RunContext, step: u64, findings: Findings) -> Result<Self, String> {
        let (stage, out) = (context.stage.clone(), context.folder());
        let log = TrainLog::open(&out, step).map_err(|e| e.to_string())?;
        let updates = Updates::open(&context.out.join("state"), &stage, step).map_err(|e| e.to_string())?;
        Ok(Diary { stage, out, log, updates, findings })
    }

    /// Tells what became of the pairs so far.
    pub(super) fn tell(&self, training: Training) {
        self.findings.lock().trainings.insert(self.stage.clone(), training);
    }

    /// Makes what has been written durable.
    pub(super) fn sync(&mut self) -> Result<(), String> {
        self.updates.sync().map_err(|e| e.to_string())
    }

    /// Finds the rows of the updates that a resumed trainer has behind it.
    pub(super) fn recall(&self) -> Result<(), String> {
        let rows = metrics::read(&self.out.join("metrics.jsonl")).map_err(|e| e.to_string())?;
        self.findings.lock().metrics.insert(self.stage.clone(), rows);
        Ok(())
    }

    /// Forgets what came after so many updates.
    pub(super) fn go_back(&mut self, step: u64) -> Result<(), String> {
        if let Some(rows) = self.findings.lock().metrics.get_mut(&self.stage) {
            rows.retain(|row| row.get("step").is_none_or(|at| *at <= step as f64));
        }
        self.updates.go_back(step).and_then(|()| self.log.go_back(step)).map_err(|e| e.to_string())
    }

    /// An update was made.
    pub(super) fn updated(&mut self, metrics: &Metrics, update: Update, cursor: &Cursor) -> Result<(), String> {
        let mut row = row_of(metrics, update.seconds);
        row.insert("stream/open".into(), f64::from(u8::from(update.open)));
        row.extend(counts(cursor.shortened, cursor.skipped.pairs));
        row.insert("pairs/replayed".into(), update.again.len() as f64);
        let Update { pairs, again, .. } = update;
        self.updates.note(&updates::Update { step: metrics.step, pairs, again }).map_err(|e| e.to_string())?;
        self.append(metrics.step, row)
    }

    /// So many held-out pairs were measured after an update.
    pub(super) fn measured(&mut self, step: u64, measures: &Measures, pairs: usize) -> Result<(), String> {
        let mut row = columns("eval_", measures);
        row.insert("eval_pairs".into(), pairs as f64);
        self.append(step, row)
    }

    fn append(&mut self, step: u64, mut row: BTreeMap<String, f64>) -> Result<(), String> {
        self.log.append(step, &row).map_err(|e| e.to_string())?;
        row.insert("step".into(), step as f64);
        self.findings.lock().metrics.entry(self.stage.clone()).or_default().push(row);
        Ok(())
    }
}
