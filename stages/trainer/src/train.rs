//! The trainer: one AdamW update of the mean loss of a batch at a time.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::adamw::{Moments, clip, global_norm};
use crate::checkpoint::{self, State};
use crate::compute::{self, Compute};
use crate::error::Error;
use crate::gradient::{Reference, ResponseLogps, batch_loss, mismatched};
use crate::lora::{Adapter, LoraSettings};
use crate::loss::{Scope, Sides, Totals};
use crate::metrics::{Measures, Metrics};
use crate::model::Model;
use crate::pair::TokenPair;
use crate::passes::Passes;
use crate::real::Real;
use crate::settings::{ReferenceKind, TrainSettings};

/// A frozen model, an adapter that learns, and the optimizer's state.
#[derive(Debug)]
pub struct Trainer<F = f32> {
    model: Arc<Model<F>>,
    settings: TrainSettings,
    /// The adapter of the reference; `None` for the bare model.
    reference: Option<Adapter<F>>,
    state: State<F>,
    compute: Box<dyn Compute<F>>,
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

    /// A trainer that starts from an adapter, with a fresh optimizer, and computes on this machine's threads.
    ///
    /// # Errors
    /// Settings that make no sense, or an adapter that does not fit the model.
    pub fn with_adapter(model: Arc<Model<F>>, settings: TrainSettings, adapter: Adapter<F>) -> Result<Self, Error> {
        settings.check()?;
        adapter.check(&model.config)?;
        let reference = (settings.reference == ReferenceKind::Start).then(|| adapter.clone());
        let state = State { moments: Moments::zeros(&adapter), adapter, step: 0 };
        let compute = Box::new(Passes::new(settings.micro_tokens, settings.activations));
        Ok(Self { model, settings, reference, state, compute })
    }

    /// Continues from the state of a checkpoint, bit for bit. The trainer must have been made as the one that saved it
    /// was.
    ///
    /// # Errors
    /// A state of another model or adapter; the trainer is then as it was.
    pub fn resume(&mut self, state: State<F>) -> Result<(), Error> {
        state.adapter.check(&self.model.config)?;
        let shape = |adapter: &Adapter<F>| (adapter.rank, adapter.alpha, adapter.targets());
        if shape(&state.adapter) != shape(&self.state.adapter) {
            return Err(Error::field("checkpoint", "its adapter has another rank, alpha or other targets"));
        }
        self.state = state;
        Ok(())
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

    /// The settings.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// The adapter as it is after the last update.
    pub fn adapter(&self) -> &Adapter<F> {
        &self.state.adapter
    }

    /// The adapter of the reference; `None` for the bare model.
    pub fn reference_adapter(&self) -> Option<&Adapter<F>> {
        self.reference.as_ref()
    }

    /// Bytes of working memory asked of the system so far: it stops growing once the longest pairs were seen.
    pub fn working_memory(&self) -> usize {
        self.compute.asked()
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.state.step
    }

    /// The log-probs under the reference; zeros for a loss that has none.
    ///
    /// # Errors
    /// A pair that does not fit the model.
    pub fn reference_logps(&self, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        match self.settings.preference_loss().uses_reference() {
            true => self.compute.logprobs(&self.model, self.reference.as_ref(), pairs),
            false => Ok(vec![ResponseLogps::default(); pairs.len()]),
        }
    }

    /// The mean loss of a set of pairs, taken as one batch, and its other measures. Nothing is learnt.
    ///
    /// # Errors
    /// A pair that does not fit the model.
    pub fn evaluate(&self, pairs: &[TokenPair], reference: &[ResponseLogps]) -> Result<Measures, Error> {
        let pairs = &*self.read(pairs);
        let policy = self.compute.logprobs(&self.model, Some(&self.state.adapter), pairs)?;
        let compared = Reference { logps: reference, mismatched: self.mismatched(pairs)? };
        let loss = batch_loss(self.settings.preference_loss().as_ref(), pairs, &policy, compared);
        Ok(Measures::new(loss, self.settings.beta(), pairs, &policy, reference))
    }

    /// One update on the mean loss of the pairs.
    ///
    /// # Errors
    /// A pair that does not fit the model or the loss, or a loss or gradient that is not finite. The trainer is then as
    /// it was before.
    pub fn step(&mut self, pairs: &[TokenPair], reference: &[ResponseLogps]) -> Result<Metrics, Error> {
        let pairs = &*self.read(pairs);
        let (settings, step) = (&self.settings, self.state.step + 1);
        let (loss, adapter) = (settings.preference_loss(), &self.state.adapter);
        let compared = Reference { logps: reference, mismatched: self.mismatched(pairs)? };
        let mut batch = self.compute.batch_gradient(&self.model, adapter, pairs, compared, loss.as_ref())?;
        finite(step, "the loss", batch.loss)?;
        let grad_norm = global_norm(&batch.gradient);
        finite(step, "the gradient's norm", grad_norm)?;
        clip(&mut batch.gradient, grad_norm, settings.max_grad_norm);
        let learning_rate = settings.learning_rate(self.state.step);
        let State { adapter, moments, .. } = &mut self.state;
        settings.optimizer().update(adapter, &batch.gradient, moments, step, learning_rate);
        self.state.step = step;
        self.compute.give_back(batch.gradient);
        let measures = Measures::new(batch.loss, self.settings.beta(), pairs, &batch.logps, reference);
        let tokens = pairs.iter().map(TokenPair::tokens).sum();
        Ok(Metrics { step, batch: measures, grad_norm, learning_rate, tokens })
    }

    /// The pairs as the loss reads them: a loss of the chosen responses alone is spared the rejected ones.
    fn read<'a>(&self, pairs: &'a [TokenPair]) -> Cow<'a, [TokenPair]> {
        match self.settings.preference_loss().sides() {
            Sides::Chosen => pairs.iter().map(|pair| TokenPair { rejected: Vec::new(), ..pair.clone() }).collect(),
            Sides::Both | Sides::Either => pairs.into(),
        }
    }

    /// The mean log-ratio of mismatched prompts and responses, where the loss reads it.
    fn mismatched(&self, pairs: &[TokenPair]) -> Result<f64, Error> {
        if self.settings.preference_loss().scope() != Scope::Mismatched || pairs.len() < 2 {
            return Ok(0.0);
        }
        let pairs = mismatched(pairs, self.model.config.max_positions);
        if pairs.is_empty() {
            return Ok(0.0);
        }
        let policy = self.compute.logprobs(&self.model, Some(&self.state.adapter), &pairs)?;
        let reference = self.compute.logprobs(&self.model, self.reference.as_ref(), &pairs)?;
        let ratios = policy.iter().zip(&reference).map(|(p, r)| (p.chosen - r.chosen) + (p.rejected - r.rejected));
        let responses = Totals::of(&pairs).responses;
        Ok(ratios.sum::<f64>() / responses.max(1) as f64)
    }
}

impl<F> Trainer<F> {
    /// The trainer, with something else that computes.
    pub fn computed_by(self, compute: Box<dyn Compute<F>>) -> Self {
        Self { compute, ..self }
    }
}

impl Trainer<f32> {
    /// The trainer, computing where its settings say.
    ///
    /// # Errors
    /// There is no such device, or not enough memory on it.
    pub fn placed(self) -> Result<Self, Error> {
        let TrainSettings { device, micro_tokens, activations, .. } = self.settings;
        let compute = compute::at(device, &self.model, Some(&self.state.adapter), (micro_tokens, activations))?;
        Ok(self.computed_by(compute))
    }
}

fn finite(step: u64, what: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { step, what, value }) }
}
