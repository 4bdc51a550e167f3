//! Training over a fixed set of pairs: epochs, validation, early stop, checkpoints.
//!
//! A run is a function of the base model, the adapter it starts from, the pairs and the settings: one that was cut off
//! and goes on from a checkpoint makes the same adapter, bit for bit where as many processes share it.

mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::checkpoint::{self, State};
use crate::checkpoints::Checkpoints;
use crate::error::Error;
use crate::gradient::ResponseLogps;
use crate::lora::Adapter;
use crate::metrics::{Measures, Metrics};
use crate::model::Model;
use crate::pair::TokenPair;
use crate::peers::{self, Peers};
use crate::peft;
use crate::reference::{ReferenceCache, hash_adapter};
use crate::settings::TrainSettings;
use crate::train::Trainer;
pub use plan::{FitSettings, Plan};

/// Where the best adapter on held-out pairs lies in a run's folder.
const BEST: &str = "best";

/// Pairs, each with the group that it belongs to: pairs of one group (a dialogue, a prompt) are all trained on or all
/// held out.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// The pairs.
    pub pairs: Vec<TokenPair>,
    /// The group of every pair.
    pub groups: Vec<String>,
}

/// Hears how a run goes.
pub trait Observer {
    /// A checkpoint could not be used; the one before it is, if there is one.
    fn refused(&mut self, error: &Error);

    /// The run begins after so many updates; what a log holds of later ones will come again.
    ///
    /// # Errors
    /// Ends the run.
    fn begins(&mut self, plan: &Plan, steps: u64) -> Result<(), Error>;

    /// An update was made, which took so many seconds, at a point of an epoch (1.5: in the middle of the second).
    ///
    /// # Errors
    /// Ends the run.
    fn updated(&mut self, metrics: &Metrics, epoch: f64, seconds: f64) -> Result<(), Error>;

    /// The held-out pairs were measured.
    ///
    /// # Errors
    /// Ends the run.
    fn validated(&mut self, step: u64, measures: &Measures) -> Result<(), Error>;
}

/// Hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Observer for Silent {
    fn refused(&mut self, _error: &Error) {}

    fn begins(&mut self, _plan: &Plan, _steps: u64) -> Result<(), Error> {
        Ok(())
    }

    fn updated(&mut self, _metrics: &Metrics, _epoch: f64, _seconds: f64) -> Result<(), Error> {
        Ok(())
    }

    fn validated(&mut self, _step: u64, _measures: &Measures) -> Result<(), Error> {
        Ok(())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Updates made.
    pub steps: u64,
    /// The update after which the held-out loss was lowest, and that loss.
    pub best: Option<(u64, f64)>,
    /// Whether the held-out loss stopped falling before the last epoch's end.
    pub stopped_early: bool,
}

/// What a run is a function of.
pub struct Inputs {
    /// The base model.
    pub model: Arc<Model<f32>>,
    /// What tells the base model from others.
    pub base: String,
    /// The adapter that training starts from.
    pub start: Adapter<f32>,
    /// How it is trained.
    pub training: TrainSettings,
    /// What it is trained on.
    pub data: Data,
    /// How the data is walked through.
    pub settings: FitSettings,
}

/// A run over a fixed set.
pub struct Fit {
    trainer: Trainer<f32>,
    base: String,
    plan: Plan,
    settings: FitSettings,
    pairs: Vec<TokenPair>,
    /// The reference's log-probs of every pair; empty before the run begins.
    reference: Vec<ResponseLogps>,
    /// Where the state is kept: nowhere by a process whose peers' first one does.
    keeper: Option<Keeper>,
    identity: String,
    best: Option<(u64, f64)>,
    /// Validations since the best one.
    stale: u64,
}

/// Where a run keeps its state.
struct Keeper {
    folder: PathBuf,
    checkpoints: Checkpoints,
}

impl Fit {
    /// A run that keeps its state in `folder`, or nowhere.
    ///
    /// # Errors
    /// Settings or pairs that make no sense.
    pub fn new(inputs: Inputs, folder: Option<&Path>) -> Result<Self, Error> {
        let plan = Plan::new(&inputs.data, &inputs.settings, inputs.training.preference_loss().as_ref())?;
        let training = TrainSettings { total_steps: plan.steps, ..inputs.training.clone() };
        let identity = identity(&inputs, &training)?;
        let Inputs { model, base, start, data: Data { pairs, .. }, settings, .. } = inputs;
        let trainer = Trainer::placed(model, training, start)?;
        let keeper = |folder: &Path| -> Result<Keeper, Error> {
            Ok(Keeper { folder: folder.to_owned(), checkpoints: Checkpoints::open(&folder.join("checkpoints"))? })
        };
        let (keeper, reference, best, stale) = (folder.map(keeper).transpose()?, Vec::new(), None, 0);
        Ok(Self { trainer, base, plan, settings, pairs, reference, keeper, identity, best, stale })
    }

    /// The run, sharing its work with those of other processes, of which the first one keeps the state.
    #[must_use]
    pub fn beside(self, peers: Box<dyn Peers>) -> Self {
        Self { trainer: self.trainer.beside(peers), ..self }
    }

    /// Removes another run's checkpoints and best adapter from the folder. Its last adapter stays until this run's replaces it.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn clear(&self) -> Result<(), Error> {
        let Some(Keeper { folder, checkpoints }) = &self.keeper else { return Ok(()) };
        checkpoints.clear()?;
        peft::remove(&folder.join(BEST))
    }

    /// Trains to the end, from where the run left off in the folder.
    ///
    /// # Errors
    /// A folder that holds another run; as [`Trainer::step`]; what the file system reports; what the observer does.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        self.resume(observer)?;
        let path = self.keeper.as_ref().map(|keeper| keeper.folder.join("reference.cache"));
        let mut cache = ReferenceCache::open(path.as_deref(), &self.base, &self.trainer)?;
        self.reference = cache.logps(&mut self.trainer, &self.pairs)?;
        observer.begins(&self.plan, self.trainer.steps())?;
        while self.trainer.steps() < self.plan.steps && !self.exhausted() {
            self.update(observer)?;
            let step = self.trainer.steps();
            if self.plan.validates(step) {
                self.validate(observer)?;
            }
            if step.is_multiple_of(self.settings.checkpoint_every) {
                self.save()?;
            }
        }
        self.save()?;
        self.trainer.leave()?;
        let (steps, stopped_early) = (self.trainer.steps(), self.exhausted());
        Ok(Outcome { steps, best: self.best, stopped_early: stopped_early && steps < self.plan.steps })
    }

    /// The trainer, with the adapter as the last update left it.
    pub fn trainer(&self) -> &Trainer<f32> {
        &self.trainer
    }

    /// A hash over everything that the adapter depends on.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Which pairs are trained on, in which order.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn resume(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let found = self.keeper.as_ref().map(|keeper| keeper.checkpoints.find()).transpose()?;
        found.iter().flat_map(|found| &found.damaged).for_each(|error| observer.refused(error));
        let newest = found.and_then(|found| found.newest);
        let Some((state, cursor)) = self.of_first(newest)? else { return Ok(()) };
        if cursor["identity"] != self.identity {
            let reason = "holds a run with another model, start, settings or pairs; choose another folder, or start over (--restart)";
            return Err(Error::malformed(self.folder(), reason));
        }
        let best = &cursor["best"];
        self.best = best[0].as_u64().zip(best[1].as_u64().map(f64::from_bits));
        self.stale = cursor["stale"].as_u64().unwrap_or_default();
        self.trainer.resume(state)
    }

    /// For errors.
    fn folder(&self) -> &Path {
        self.keeper.as_ref().map_or(Path::new("the folder of the first process"), |keeper| &keeper.folder)
    }

    /// The checkpoint that the first of several processes goes on from.
    fn of_first(&mut self, own: Option<(State<f32>, Value)>) -> Result<Option<(State<f32>, Value)>, Error> {
        if self.trainer.peers().count() == 1 {
            return Ok(own);
        }
        let encode = |(State { adapter, moments, step }, cursor): &(State<f32>, Value)| {
            checkpoint::to_bytes((adapter, moments, *step), cursor)
        };
        let own = own.as_ref().map(encode).transpose().map_err(|cause| Error::malformed(self.folder(), cause))?;
        let bytes = peers::of_first(self.trainer.peers(), own.unwrap_or_default())?;
        if bytes.is_empty() { Ok(None) } else { checkpoint::from_bytes(self.folder(), &bytes).map(Some) }
    }

    fn exhausted(&self) -> bool {
        self.settings.patience > 0 && self.stale >= self.settings.patience
    }

    fn update(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let begin = Instant::now();
        let batch = self.plan.batch(self.trainer.steps());
        let (pairs, reference) = self.chosen(&batch);
        let metrics = self.trainer.step(&pairs, &reference)?;
        observer.updated(&metrics, self.plan.epoch(metrics.step), begin.elapsed().as_secs_f64())
    }

    fn validate(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let (pairs, reference) = self.chosen(&self.plan.held);
        let measures = self.trainer.evaluate(&pairs, &reference)?;
        observer.validated(self.trainer.steps(), &measures)?;
        self.stale += 1;
        if improves(measures.loss, self.best) {
            (self.best, self.stale) = (Some((self.trainer.steps(), measures.loss)), 0);
            if let Some(keeper) = &self.keeper {
                peft::save(&keeper.folder.join(BEST), &*self.trainer.adapter()?, None)?;
            }
        }
        Ok(())
    }

    fn chosen(&self, indices: &[usize]) -> (Vec<TokenPair>, Vec<ResponseLogps>) {
        indices.iter().map(|at| (self.pairs[*at].clone(), self.reference[*at])).unzip()
    }

    fn save(&self) -> Result<(), Error> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let best = self.best.map(|(step, loss)| json!([step, loss.to_bits()]));
        let cursor = json!({ "identity": self.identity, "best": best, "stale": self.stale });
        keeper.checkpoints.save(&self.trainer, &cursor)
    }
}

/// Whether a held-out loss is lower than the best so far; one that is no number never is.
fn improves(loss: f64, best: Option<(u64, f64)>) -> bool {
    loss.is_finite() && best.is_none_or(|(_, best)| loss < best)
}

/// A hash over everything that the adapter depends on.
fn identity(inputs: &Inputs, training: &TrainSettings) -> Result<String, Error> {
    let Inputs { base, start, data, .. } = inputs;
    let mut hasher = blake3::Hasher::new();
    hasher.update(base.as_bytes());
    hash_adapter(&mut hasher, start);
    // How often a run is saved changes nothing in it.
    let settings = FitSettings { checkpoint_every: 0, ..inputs.settings.clone() };
    // JSON writes floating-point numbers so that they read back the same.
    let made_of = (training.decisive(), settings, &data.pairs, &data.groups);
    serde_json::to_writer(&mut hasher, &made_of).map_err(|error| Error::field("settings", error))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_never_the_best() {
        assert!(improves(1.0, None) && improves(0.5, Some((3, 1.0))));
        for (loss, best) in [(f64::NAN, None), (f64::INFINITY, None), (f64::NAN, Some((3, 1.0))), (1.0, Some((3, 1.0)))]
        {
            assert!(!improves(loss, best), "{loss} after {best:?}");
        }
    }
}
