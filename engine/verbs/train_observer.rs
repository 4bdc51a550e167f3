//! What `train` prints and writes down as it goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use obvert_stages::output::train_log::{TrainLog, columns, counts, row_of};
use obvert_stages::output::{self, jsonl};
use obvert_trainer::fit::{Observer, Plan};
use obvert_trainer::{Error, Measures, Metrics};
use serde_json::json;

use super::pairs::Read;

/// Prints, and writes to the log in the run's folder.
pub struct TrainObserver {
    out: PathBuf,
    /// Open from when it is known where the run begins.
    log: Option<TrainLog>,
    read: Read,
}

impl TrainObserver {
    /// For a run whose files go to `out`, on pairs that were read.
    pub fn new(out: &Path, read: Read) -> Self {
        TrainObserver { out: out.to_owned(), log: None, read }
    }

    /// What was read, and what of it could not be used.
    pub fn read(&self) -> &Read {
        &self.read
    }

    fn write(&mut self, step: u64, row: &BTreeMap<String, f64>) -> Result<(), Error> {
        let written = self.log.as_mut().map_or(Ok(()), |log| log.append(step, row));
        written.map_err(|error| Error::malformed(&self.out, error))
    }
}

impl Observer for TrainObserver {
    fn refused(&mut self, error: &Error) {
        eprintln!("warning: {error}; the one before it is used, if there is one");
    }

    fn begins(&mut self, plan: &Plan, steps: u64) -> Result<(), Error> {
        if steps > 0 {
            println!("going on after {steps} of {} updates", plan.steps);
        }
        let refuse = |error: output::Error| Error::malformed(&self.out, error);
        jsonl::write(&self.out.join("rejected.jsonl"), self.read.rejected()).map_err(refuse)?;
        self.log = Some(TrainLog::open(&self.out, steps).map_err(refuse)?);
        Ok(())
    }

    fn updated(&mut self, metrics: &Metrics, epoch: f64, seconds: f64) -> Result<(), Error> {
        let mut row = row_of(metrics, seconds);
        row.insert("epoch".into(), epoch);
        row.extend(counts(self.read.shortened as u64, self.read.rejected.len() as u64));
        let (loss, accuracies) = (metrics.batch.loss, metrics.batch.accuracies);
        let shown = json!({ "step": metrics.step, "loss": loss, "grad_norm": metrics.grad_norm, "rewards/accuracies": accuracies });
        println!("{shown}");
        self.write(metrics.step, &row)
    }

    fn validated(&mut self, step: u64, measures: &Measures) -> Result<(), Error> {
        let (loss, accuracies) = (measures.loss, measures.accuracies);
        println!("{}", json!({ "step": step, "eval_loss": loss, "eval_rewards/accuracies": accuracies }));
        self.write(step, &columns("eval_", measures))
    }
}
