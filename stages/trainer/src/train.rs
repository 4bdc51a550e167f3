//! The trainer: one AdamW update of the mean preference loss at a time.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::adamw::{Moments, clip, global_norm};
use crate::checkpoint::{self, State};
use crate::error::Error;
use crate::gradient::{BatchGradient, ResponseLogps, batch_gradient, logprobs};
use crate::lora::{Adapter, LoraSettings};
use crate::model::Model;
use crate::pair::TokenPair;
use crate::real::Real;
use crate::settings::TrainSettings;

/// What one update reports, under TRL's names. A reward is β(log p − reference log p), without the margin.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Metrics {
    /// The update, counted from 1.
    pub step: u64,
    /// The mean loss before the update.
    pub loss: f64,
    /// Mean reward of the chosen responses.
    #[serde(rename = "rewards/chosen")]
    pub rewards_chosen: f64,
    /// Mean reward of the rejected responses.
    #[serde(rename = "rewards/rejected")]
    pub rewards_rejected: f64,
    /// Mean of chosen minus rejected reward.
    #[serde(rename = "rewards/margins")]
    pub margins: f64,
    /// Share of the pairs whose chosen reward is the greater.
    #[serde(rename = "rewards/accuracies")]
    pub accuracies: f64,
    /// Mean summed log-prob of the chosen responses, in nats.
    #[serde(rename = "logps/chosen")]
    pub logps_chosen: f64,
    /// Mean summed log-prob of the rejected responses, in nats.
    #[serde(rename = "logps/rejected")]
    pub logps_rejected: f64,
    /// Global norm of the gradient, before clipping.
    pub grad_norm: f64,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// Tokens of all sequences, prompts counted once per response.
    pub tokens: usize,
}

/// A frozen model, an adapter that learns, and the optimizer's state.
#[derive(Debug)]
pub struct Trainer<F = f32> {
    model: Arc<Model<F>>,
    settings: TrainSettings,
    state: State<F>,
}

impl<F: Real> Trainer<F> {
    /// A trainer with a new adapter.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn new(model: Arc<Model<F>>, settings: TrainSettings, lora: &LoraSettings, seed: u64) -> Result<Self, Error> {
        let adapter = Adapter::new(&model.config, lora, seed)?;
        Self::with_adapter(model, settings, adapter)
    }

    /// A trainer that starts from an adapter, with a fresh optimizer.
    ///
    /// # Errors
    /// Settings that make no sense, or an adapter that does not fit the model.
    pub fn with_adapter(model: Arc<Model<F>>, settings: TrainSettings, adapter: Adapter<F>) -> Result<Self, Error> {
        settings.check()?;
        adapter.check(&model.config)?;
        let state = State { moments: Moments::zeros(&adapter), adapter, step: 0 };
        Ok(Self { model, settings, state })
    }

    /// Continues a run from a checkpoint, bit for bit, and returns the cursor saved with it.
    ///
    /// # Errors
    /// A checkpoint that is damaged or of another model, or settings that make no sense.
    pub fn resume(model: Arc<Model<F>>, settings: TrainSettings, path: &Path) -> Result<(Self, Value), Error> {
        settings.check()?;
        let (state, cursor) = checkpoint::load(path)?;
        state.adapter.check(&model.config).map_err(|error| Error::malformed(path, error))?;
        Ok((Self { model, settings, state }, cursor))
    }

    /// Saves adapter, moments, step and `cursor`, which is the caller's, in one file that is replaced at once.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn save(&self, path: &Path, cursor: &Value) -> Result<(), Error> {
        checkpoint::save(path, &self.state, cursor)
    }

    /// The frozen model.
    pub fn model(&self) -> &Arc<Model<F>> {
        &self.model
    }

    /// The adapter as it is after the last update.
    pub fn adapter(&self) -> &Adapter<F> {
        &self.state.adapter
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.state.step
    }

    /// The log-probs under the reference: the model without its adapter.
    ///
    /// # Errors
    /// A pair that does not fit the model.
    pub fn reference_logps(&self, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        logprobs(&self.model, None, pairs)
    }

    /// One update on the mean loss of the pairs.
    ///
    /// # Errors
    /// A pair that does not fit the model, or a loss or gradient that is not finite. The trainer is then as it
    /// was before.
    pub fn step(&mut self, pairs: &[TokenPair], reference: &[ResponseLogps]) -> Result<Metrics, Error> {
        let (settings, step) = (&self.settings, self.state.step + 1);
        let loss = settings.preference_loss();
        let adapter = &self.state.adapter;
        let mut batch = batch_gradient(&self.model, adapter, pairs, reference, loss.as_ref(), settings.micro_tokens)?;
        finite(step, "the loss", batch.loss)?;
        let grad_norm = global_norm(&batch.gradient);
        finite(step, "the gradient's norm", grad_norm)?;
        clip(&mut batch.gradient, grad_norm, settings.max_grad_norm);
        let learning_rate = settings.learning_rate(self.state.step);
        let State { adapter, moments, .. } = &mut self.state;
        settings.optimizer().update(adapter, &batch.gradient, moments, step, learning_rate);
        self.state.step = step;
        let tokens = pairs.iter().map(TokenPair::tokens).sum();
        let metrics =
            Metrics { grad_norm, learning_rate, tokens, ..metrics(step, &batch, reference, self.settings.beta) };
        Ok(metrics)
    }
}

fn finite(step: u64, what: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { step, what, value }) }
}

/// The means over a batch; what belongs to the update is left zero.
fn metrics<F>(step: u64, batch: &BatchGradient<F>, reference: &[ResponseLogps], beta: f64) -> Metrics {
    let count = batch.logps.len() as f64;
    let rewards = || {
        let pairs = batch.logps.iter().zip(reference);
        pairs.map(|(policy, base)| (beta * (policy.chosen - base.chosen), beta * (policy.rejected - base.rejected)))
    };
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
    Metrics {
        step,
        loss: batch.loss,
        rewards_chosen: mean(&mut rewards().map(|(chosen, _)| chosen)),
        rewards_rejected: mean(&mut rewards().map(|(_, rejected)| rejected)),
        margins: mean(&mut rewards().map(|(chosen, rejected)| chosen - rejected)),
        accuracies: mean(&mut rewards().map(|(chosen, rejected)| f64::from(u8::from(chosen > rejected)))),
        logps_chosen: mean(&mut batch.logps.iter().map(|logps| logps.chosen)),
        logps_rejected: mean(&mut batch.logps.iter().map(|logps| logps.rejected)),
        grad_norm: 0.0,
        learning_rate: 0.0,
        tokens: 0,
    }
}
