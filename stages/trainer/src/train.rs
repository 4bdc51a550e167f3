//! The trainer: one AdamW update of the mean loss of a batch at a time.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::adamw::{Moments, Step};
use crate::checkpoint::{self, State};
use crate::compute::{self, Learner};
use crate::error::Error;
use crate::gradient::{Batch, Reference, ResponseLogps, Scored, batch_loss, mismatched, responses};
use crate::local::Local;
use crate::lora::{Adapter, LoraSettings};
use crate::loss::{Scope, Sides, Totals};
use crate::metrics::{Measures, Metrics};
use crate::model::Model;
use crate::pair::TokenPair;
use crate::passes::Passes;
use crate::peers::{self, Alone, Peers};
use crate::real::Real;
use crate::settings::{ReferenceKind, TrainSettings};

/// A frozen model, an adapter that learns, and the optimizer's state.
#[derive(Debug)]
pub struct Trainer<F: Real = f32> {
    model: Arc<Model<F>>,
    settings: TrainSettings,
    /// The adapter of the reference; `None` for the bare model.
    reference: Option<Adapter<F>>,
    learner: Box<dyn Learner<F>>,
    peers: Box<dyn Peers>,
    /// Updates made.
    done: u64,
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
        let passes = Passes::new(settings.micro_tokens, settings.activations);
        Self::check(&model, &settings, &adapter)?;
        let reference = reference_of(&settings, &adapter);
        let learner = Box::new(Local::new(Arc::clone(&model), passes, adapter));
        Ok(Self { model, settings, reference, learner, peers: Box::new(Alone), done: 0 })
    }

    fn check(model: &Model<F>, settings: &TrainSettings, adapter: &Adapter<F>) -> Result<(), Error> {
        settings.check()?;
        adapter.check(&model.config)
    }

    /// The trainer, with another learner, whose adapter is the same.
    #[must_use]
    pub fn learning_on(self, learner: Box<dyn Learner<F>>) -> Self {
        Self { learner, ..self }
    }

    /// The trainer, sharing its work with those of other processes, which are made alike and given the same pairs.
    #[must_use]
    pub fn beside(self, peers: Box<dyn Peers>) -> Self {
        Self { peers, ..self }
    }

    /// The other processes.
    pub fn peers(&mut self) -> &mut dyn Peers {
        self.peers.as_mut()
    }

    /// Ends the work together with the other processes.
    ///
    /// # Errors
    /// One of them is lost.
    pub fn leave(&mut self) -> Result<(), Error> {
        std::mem::replace(&mut self.peers, Box::new(Alone)).leave()
    }

    /// Continues from the state of a checkpoint, bit for bit. The trainer must have been made as the one that saved it
    /// was.
    ///
    /// # Errors
    /// A state of another model or adapter; the trainer is then as it was.
    pub fn resume(&mut self, state: State<F>) -> Result<(), Error> {
        state.adapter.check(&self.model.config)?;
        let shape = |adapter: &Adapter<F>| (adapter.rank, adapter.alpha, adapter.targets());
        if shape(&state.adapter) != shape(&*self.adapter()?) {
            return Err(Error::field("checkpoint", "its adapter has another rank, alpha or other targets"));
        }
        self.learner.restore(state.adapter, state.moments)?;
        self.done = state.step;
        Ok(())
    }

    /// All that [`Trainer::resume`] needs to come back to where it is.
    ///
    /// # Errors
    /// What a device reports.
    pub fn state(&self) -> Result<State<F>, Error> {
        let (adapter, moments) = (self.adapter()?.into_owned(), self.learner.moments()?.into_owned());
        Ok(State { adapter, moments, step: self.done })
    }

    /// Begins again with another adapter, a fresh optimizer and no updates made.
    ///
    /// # Errors
    /// An adapter that does not fit the model, or of another shape; what a device reports.
    pub fn start_over(&mut self, adapter: Adapter<F>) -> Result<(), Error> {
        let reference = reference_of(&self.settings, &adapter);
        self.resume(State { moments: Moments::zeros(&adapter), adapter, step: 0 })?;
        self.reference = reference;
        Ok(())
    }

    /// Saves adapter, moments, step and `cursor`, which is the caller's, in one file that is replaced at once.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn save(&self, path: &Path, cursor: &Value) -> Result<(), Error> {
        checkpoint::save(path, (&*self.adapter()?, &*self.learner.moments()?, self.done), cursor)
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
    ///
    /// # Errors
    /// What a device reports.
    pub fn adapter(&self) -> Result<Cow<'_, Adapter<F>>, Error> {
        self.learner.adapter()
    }

    /// The adapter of the reference; `None` for the bare model.
    pub fn reference_adapter(&self) -> Option<&Adapter<F>> {
        self.reference.as_ref()
    }

    /// Bytes of working memory asked of the system so far: it stops growing once the longest pairs were seen.
    pub fn working_memory(&self) -> usize {
        self.learner.asked()
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.done
    }

    /// The log-probs under the reference; zeros for a loss that has none.
    ///
    /// # Errors
    /// A pair that does not fit the model.
    pub fn reference_logps(&mut self, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        match self.settings.preference_loss().uses_reference() {
            true => self.shared(pairs, |learner, reference, pairs| learner.logprobs(reference, pairs)),
            false => Ok(vec![ResponseLogps::default(); pairs.len()]),
        }
    }

    /// The mean loss of a set of pairs, taken as one batch, and its other measures. Nothing is learnt.
    ///
    /// # Errors
    /// A pair that does not fit the model.
    pub fn evaluate(&mut self, pairs: &[TokenPair], reference: &[ResponseLogps]) -> Result<Measures, Error> {
        let pairs = &*self.read(pairs);
        let policy = self.policy(pairs)?;
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
        let (pairs, step) = (&*self.read(pairs), self.done + 1);
        let compared = Reference { logps: reference, mismatched: self.mismatched(pairs)? };
        let Scored { loss, logps } = self.gradient(pairs, compared)?;
        finite(step, "the loss", loss)?;
        let grad_norm = self.learner.clip(self.settings.max_grad_norm)?;
        finite(step, "the gradient's norm", grad_norm)?;
        let (optimizer, learning_rate) = (self.settings.optimizer(), self.settings.learning_rate(self.done));
        self.learner.update(&Step { optimizer, learning_rate, number: step })?;
        self.done = step;
        let measures = Measures::new(loss, self.settings.beta(), pairs, &logps, reference);
        let tokens = pairs.iter().map(TokenPair::tokens).sum();
        Ok(Metrics { step, batch: measures, grad_norm, learning_rate, tokens })
    }

    /// Loss and log-probs of a batch, whose gradient the learner keeps; each process computes its share.
    fn gradient(&mut self, pairs: &[TokenPair], reference: Reference<'_>) -> Result<Scored, Error> {
        let loss = self.settings.preference_loss();
        let batch = Batch::new(loss.as_ref(), pairs, reference)?;
        let share = peers::share(self.peers.as_ref(), pairs.len());
        if self.peers.count() == 1 {
            return self.learner.gradient(&batch, share);
        }
        let policy = match batch.reads_others() {
            true => Some(self.policy(pairs)?),
            false => None,
        };
        let batch = policy.as_deref().map_or(batch, |policy| batch.known(policy));
        let own = self.learner.gradient(&batch, share)?;
        self.learner.reduce(self.peers.as_mut())?;
        let mut loss = [own.loss];
        peers::sum(self.peers.as_mut(), &mut loss)?;
        Ok(Scored { loss: loss[0], logps: gather_logps(self.peers.as_mut(), &own.logps)? })
    }

    /// The log-probs under the adapter as it is.
    fn policy(&mut self, pairs: &[TokenPair]) -> Result<Vec<ResponseLogps>, Error> {
        self.shared(pairs, |learner, _, pairs| learner.policy(pairs))
    }

    /// Log-probs of pairs, of which each process computes its share. The function is given learner, reference and share.
    fn shared(
        &mut self,
        pairs: &[TokenPair],
        logps: impl Fn(&mut dyn Learner<F>, Option<&Adapter<F>>, &[TokenPair]) -> Result<Vec<ResponseLogps>, Error>,
    ) -> Result<Vec<ResponseLogps>, Error> {
        let Self { learner, reference, peers, .. } = self;
        let own = match &pairs[peers::share(peers.as_ref(), pairs.len())] {
            // There are more processes than pairs.
            [] if !pairs.is_empty() => Vec::new(),
            share => logps(learner.as_mut(), reference.as_ref(), share)?,
        };
        gather_logps(peers.as_mut(), &own)
    }

    /// The pairs as the loss reads them: a loss of the chosen responses alone is spared the rejected ones.
    fn read<'a>(&self, pairs: &'a [TokenPair]) -> Cow<'a, [TokenPair]> {
        match self.settings.preference_loss().sides() {
            Sides::Chosen => pairs.iter().map(|pair| TokenPair { rejected: Vec::new(), ..pair.clone() }).collect(),
            Sides::Both | Sides::Either => pairs.into(),
        }
    }

    /// The mean log-ratio of mismatched prompts and responses, where the loss reads it.
    fn mismatched(&mut self, pairs: &[TokenPair]) -> Result<f64, Error> {
        if self.settings.preference_loss().scope() != Scope::Mismatched || pairs.len() < 2 {
            return Ok(0.0);
        }
        let pairs = mismatched(pairs, self.model.config.max_positions);
        if pairs.is_empty() {
            return Ok(0.0);
        }
        let policy = self.policy(&pairs)?;
        let reference = self.shared(&pairs, |learner, reference, pairs| learner.logprobs(reference, pairs))?;
        let ratios = policy.iter().zip(&reference).map(|(p, r)| (p.chosen - r.chosen) + (p.rejected - r.rejected));
        let responses = Totals::of(&pairs).responses;
        Ok(ratios.sum::<f64>() / responses.max(1) as f64)
    }
}

impl Trainer<f32> {
    /// A trainer that starts from an adapter, with a fresh optimizer, and computes where its settings say.
    ///
    /// # Errors
    /// Settings that make no sense, or an adapter that does not fit the model. There is no such device, or not enough memory
    /// on it.
    pub fn placed(model: Arc<Model<f32>>, settings: TrainSettings, adapter: Adapter<f32>) -> Result<Self, Error> {
        Self::check(&model, &settings, &adapter)?;
        let reference = reference_of(&settings, &adapter);
        let passes = (settings.micro_tokens, settings.activations);
        let learner = compute::learner(settings.device, &model, adapter, passes)?;
        Ok(Self { model, settings, reference, learner, peers: Box::new(Alone), done: 0 })
    }
}

/// The adapter of the reference; `None` for the bare model.
fn reference_of<F: Real>(settings: &TrainSettings, start: &Adapter<F>) -> Option<Adapter<F>> {
    (settings.reference == ReferenceKind::Start).then(|| start.clone())
}

/// The log-probs of all processes' shares, in the order of the pairs.
fn gather_logps(peers: &mut dyn Peers, own: &[ResponseLogps]) -> Result<Vec<ResponseLogps>, Error> {
    let values: Vec<f64> = own.iter().flat_map(|logps| [logps.chosen, logps.rejected]).collect();
    Ok(responses(&peers::gather_values(peers, &values)?))
}

fn finite(step: u64, what: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { step, what, value }) }
}
