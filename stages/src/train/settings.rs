//! The stage's settings.

use std::sync::Arc;

use obvert_api::ModelName;
use obvert_trainer::loss::Margin;
use obvert_trainer::schedule::Schedule;
use obvert_trainer::settings::{Activations, LossKind, MICRO_TOKENS};
use obvert_trainer::{LoraSettings, Projection, TrainSettings, Trainer};
use schemars::JsonSchema;
use serde::Deserialize;

use super::replay::Replay;
use crate::policy::Policy;

/// Settings of `train`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Train {
    /// The model to fine-tune, of kind `local`.
    pub(super) model: ModelName,
    /// Updates at most; a schedule that falls is stretched over them.
    #[schemars(range(min = 1))]
    pub(super) updates: u64,
    /// Pairs per update.
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1))]
    pub(super) batch_size: usize,
    /// Pairs that are held to draw the next one from; 0 trains in the order of the stream.
    #[serde(default = "shuffle_window")]
    pub(super) shuffle: usize,
    /// Earlier pairs that are trained on again beside new ones; without it every pair is trained on once.
    #[serde(default)]
    pub(super) replay: Option<Replaying>,
    /// `rpo`, `dpo`, `ipo`, `kto`, `simpo`, `orpo`, `iopo` or `sft`.
    #[serde(default)]
    pub(super) loss: LossKind,
    /// Convention of the margin: gamma*g (`paper`) or beta*gamma*g (`reference-code`).
    #[serde(default)]
    pub(super) margin: Margin,
    /// beta of the loss: 0.1, for `simpo` 2, where it is not given.
    #[serde(default)]
    pub(super) beta: Option<f64>,
    /// gamma of the margin: 0.05, for `simpo` 1, where it is not given.
    #[serde(default)]
    pub(super) gamma: Option<f64>,
    /// Peak learning rate.
    #[serde(default = "lr")]
    pub(super) lr: f64,
    /// `cosine`, `linear` or `constant`, after the warm-up.
    #[serde(default)]
    pub(super) schedule: Schedule,
    /// Share of the updates over which the rate rises; 0.1 by default, 0 for the schedule `constant`.
    #[serde(default)]
    pub(super) warmup_ratio: Option<f64>,
    /// Gradients are scaled down to this norm; 0 is off.
    #[serde(default = "max_grad_norm")]
    pub(super) max_grad_norm: f64,
    /// Rank of the adapter.
    #[serde(default = "rank")]
    pub(super) rank: usize,
    /// The adapter's weight is alpha/rank.
    #[serde(default = "alpha")]
    pub(super) alpha: f64,
    /// Tokens of a prompt and its longer response at most, by default as many as the model takes. Where they are more,
    /// the oldest turns are dropped; where no turn is left to drop, the pair is skipped and counted.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) max_length: Option<usize>,
    /// Packed tokens of one pass; there is a pass for every thread at a time. Fewer take less memory.
    #[serde(default = "micro_tokens")]
    #[schemars(range(min = 1))]
    pub(super) micro_tokens: usize,
    /// `keep` a pass's activations for its backward, or `recompute` them: slower, and a fraction of the memory.
    #[serde(default)]
    pub(super) activations: Activations,
    /// Share of the dialogues that is held out of training. Those that have come so far are measured now and then.
    #[serde(default)]
    pub(super) validation: f64,
    /// Updates between two such measurements.
    #[serde(default = "validate_every")]
    #[schemars(range(min = 1))]
    pub(super) validate_every: u64,
    /// Updates between two checkpoints.
    #[serde(default = "checkpoint_every")]
    #[schemars(range(min = 1))]
    pub(super) checkpoint_every: u64,
    /// Seed of the new adapter.
    #[serde(default)]
    pub(super) seed: u64,
}

/// A bounded sample of earlier pairs to draw from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replaying {
    /// Pairs that are kept; every earlier one with the same chance.
    #[serde(default = "capacity")]
    #[schemars(range(min = 1))]
    pub(super) capacity: usize,
    /// Share of every update's pairs that is drawn from them.
    pub(super) ratio: f64,
}

fn capacity() -> usize {
    4096
}
fn micro_tokens() -> usize {
    MICRO_TOKENS
}
fn validate_every() -> u64 {
    10
}
fn batch_size() -> usize {
    32
}
fn shuffle_window() -> usize {
    1024
}
fn lr() -> f64 {
    5e-4
}
fn max_grad_norm() -> f64 {
    1.0
}
fn rank() -> usize {
    8
}
fn alpha() -> f64 {
    16.0
}
fn checkpoint_every() -> u64 {
    10
}

impl Train {
    /// The field that makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |field: &str, cause: String| Err((field.to_owned(), cause));
        if !(0.0..=0.9).contains(&self.validation) {
            return wrong("validation", format!("{} must be from 0 to 0.9", self.validation));
        }
        if let Some(Replaying { ratio, .. }) =
            self.replay.as_ref().filter(|replay| !(0.0..=0.9).contains(&replay.ratio))
        {
            return wrong("replay", format!("ratio {ratio} must be from 0 to 0.9"));
        }
        if !self.batch_size.is_multiple_of(self.unit()) {
            return wrong("batch_size", format!("{} must be even: iopo takes pairs two by two", self.batch_size));
        }
        Ok(())
    }

    /// Pairs that have to stand together in a batch.
    pub(super) fn unit(&self) -> usize {
        if self.loss == LossKind::Iopo { 2 } else { 1 }
    }

    /// The batches of a stream of units.
    pub(super) fn batches<T: Clone>(&self) -> Replay<T> {
        let size = self.batch_size / self.unit();
        let Replaying { capacity, ratio } = self.replay.clone().unwrap_or(Replaying { capacity: 0, ratio: 0.0 });
        // Whole units: a ratio asks for at most so many.
        Replay::new(size, (size as f64 * ratio) as usize, capacity / self.unit(), self.seed)
    }

    /// What an adapter depends on besides the pairs and the model.
    pub(super) fn identity(&self) -> String {
        let training = serde_json::to_string(&(self.training(), self.lora())).unwrap_or_default();
        let Train { batch_size, max_length, shuffle, seed, replay, validation, .. } = self;
        format!("{training} {batch_size} {max_length:?} {shuffle} {seed} {replay:?} {validation}")
    }

    pub(super) fn training(&self) -> TrainSettings {
        TrainSettings {
            loss: self.loss,
            margin: self.margin,
            schedule: self.schedule,
            beta: self.beta,
            gamma: self.gamma,
            lr: self.lr,
            warmup_ratio: self.warmup_ratio,
            total_steps: self.updates,
            max_grad_norm: self.max_grad_norm,
            micro_tokens: self.micro_tokens,
            activations: self.activations,
            ..TrainSettings::default()
        }
    }

    /// A trainer with a new adapter.
    pub(super) fn trainer(&self, policy: &Policy) -> Result<Trainer, String> {
        let model = Arc::clone(&policy.model);
        Trainer::new(model, self.training(), &self.lora(), self.seed).map_err(|e| e.to_string())
    }

    pub(super) fn lora(&self) -> LoraSettings {
        LoraSettings { rank: self.rank, alpha: self.alpha, targets: Projection::ALL.to_vec() }
    }
}
