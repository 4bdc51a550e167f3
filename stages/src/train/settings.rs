//! The stage's settings.

use std::sync::Arc;

use obvert_api::ModelName;
use obvert_trainer::settings::LossKind;
use obvert_trainer::{Adapter, Error, LoraSettings, TrainSettings, Trainer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ledger::Withdrawn;
use super::replay::Replay;
use crate::output::model_card;
use crate::policy::Policy;

/// Settings of `train`. Unknown ones are refused by the check of a pipeline against the schema: serde cannot refuse them
/// beside flattened ones.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
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
    /// Loss, optimizer and memory: named and defaulted as everywhere in the trainer.
    #[serde(flatten)]
    training: TrainSettings,
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
    /// Updates after which the adapter is handed to the stages `online` that are in step with this one. Without it nothing is.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) refresh_every: Option<u64>,
    /// Seed of the new adapter.
    #[serde(default)]
    pub(super) seed: u64,
    /// What is done about pairs that are withdrawn after they were trained on, or come to stand before others that were: an input
    /// was edited while the run goes on. In every case `state/NAME.ledger.jsonl` names them. A run that is started again on
    /// other inputs goes back as `rollback` does, whatever is set here.
    #[serde(default)]
    pub(super) withdrawn: Withdrawn,
}

/// A bounded sample of earlier pairs to draw from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
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
fn validate_every() -> u64 {
    10
}
fn batch_size() -> usize {
    32
}
fn shuffle_window() -> usize {
    1024
}
fn rank() -> usize {
    LoraSettings::default().rank
}
fn alpha() -> f64 {
    LoraSettings::default().alpha
}
fn checkpoint_every() -> u64 {
    10
}

impl Train {
    /// The field that makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let (ratio, batch_size, unit) = (self.replay.as_ref().map_or(0.0, |r| r.ratio), self.batch_size, self.unit());
        share("validation", self.validation)?;
        share("replay.ratio", ratio)?;
        if !batch_size.is_multiple_of(unit) {
            return Err(wrong("batch_size", format!("{batch_size} must be even: iopo takes pairs two by two")));
        }
        if self.refresh_every.is_some() && self.withdrawn == Withdrawn::Rollback {
            let cause =
                "cannot be \"rollback\" beside `refresh_every`: what was answered by an adapter stays".to_owned();
            return Err(wrong("withdrawn", cause));
        }
        self.training().check().and_then(|()| self.lora().check()).map_err(|error| match error {
            // The trainer's name for `updates`.
            Error::Field { field, reason } if field == "total_steps" => wrong("updates", reason),
            Error::Field { field, reason } => wrong(&field, reason),
            other => (String::new(), other.to_string()),
        })
    }

    /// Pairs that have to stand together in a batch.
    pub(super) fn unit(&self) -> usize {
        if self.training.loss == LossKind::Iopo { 2 } else { 1 }
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
        let training = serde_json::to_string(&(self.training().decisive(), self.lora())).unwrap_or_default();
        let Train { batch_size, max_length, shuffle, seed, replay, validation, .. } = self;
        format!("{training} {batch_size} {max_length:?} {shuffle} {seed} {replay:?} {validation}")
    }

    pub(super) fn training(&self) -> TrainSettings {
        TrainSettings { total_steps: self.updates, ..self.training.clone() }
    }

    /// A trainer with a new adapter.
    pub(super) fn trainer(&self, policy: &Policy) -> Result<Trainer, String> {
        let placed = |adapter| Trainer::placed(Arc::clone(&policy.model), self.training(), adapter);
        self.adapter(policy).and_then(placed).map_err(|e| e.to_string())
    }

    /// The adapter that training starts from.
    pub(super) fn adapter(&self, policy: &Policy) -> Result<Adapter, Error> {
        Adapter::new(&policy.model.config, &self.lora(), self.seed)
    }

    /// As a card lists them.
    pub(super) fn shown(&self) -> Value {
        model_card::settings(&self.training, self)
    }

    fn lora(&self) -> LoraSettings {
        LoraSettings { rank: self.rank, alpha: self.alpha, ..LoraSettings::default() }
    }
}

/// A field and what is wrong with it.
fn wrong(field: &str, cause: String) -> (String, String) {
    (field.to_owned(), format!("`{field}`: {cause}"))
}

fn share(field: &str, value: f64) -> Result<(), (String, String)> {
    if (0.0..=0.9).contains(&value) { Ok(()) } else { Err(wrong(field, format!("{value} must be from 0 to 0.9"))) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(more: &Value) -> Train {
        let mut settings = json!({ "model": "tiny", "updates": 5 });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Train::deserialize(settings).unwrap()
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let bad = [
            (json!({ "lr": -1 }), "lr"),
            (json!({ "beta": 0 }), "beta"),
            (json!({ "loss": "simpo", "gamma": -0.5 }), "gamma"),
            (json!({ "label_smoothing": 0.5 }), "label_smoothing"),
            (json!({ "desirable_weight": -1 }), "desirable_weight"),
            (json!({ "undesirable_weight": -1 }), "undesirable_weight"),
            (json!({ "orpo_lambda": -1 }), "orpo_lambda"),
            (json!({ "nll_weight": -1 }), "nll_weight"),
            (json!({ "warmup_ratio": 1.1 }), "warmup_ratio"),
            (json!({ "weight_decay": -1 }), "weight_decay"),
            (json!({ "adam_beta2": 1 }), "adam_beta2"),
            (json!({ "max_grad_norm": -1 }), "max_grad_norm"),
            (json!({ "micro_tokens": 0 }), "micro_tokens"),
            (json!({ "rank": 0 }), "rank"),
            (json!({ "alpha": 0 }), "alpha"),
            (json!({ "updates": 0 }), "updates"),
            (json!({ "validation": 1 }), "validation"),
            (json!({ "replay": { "ratio": 1 } }), "replay.ratio"),
            (json!({ "loss": "iopo", "batch_size": 3 }), "batch_size"),
        ];
        for (more, field) in bad {
            let (named, cause) = settings(&more).check().unwrap_err();
            assert!(named == field && cause.starts_with(&format!("`{field}`: ")), "{more}: {named}: {cause}");
        }
        settings(&json!({})).check().unwrap();
    }

    /// The defaults are the trainer's, and no setting is read in vain.
    #[test]
    fn what_the_trainer_is_told_is_what_was_set() {
        assert_eq!(settings(&json!({})).training(), TrainSettings { total_steps: 5, ..TrainSettings::default() });
        let set =
            json!({ "loss": "kto", "kto_baseline": "pair", "ipo_average": "mean", "desirable_weight": 2.0, "lr": 1.0 });
        let told = serde_json::to_value(settings(&set).training()).unwrap();
        for (name, value) in set.as_object().unwrap() {
            assert_eq!(told[name], *value, "{name}");
        }
    }

    /// A run may go on with activations kept or recomputed: the results are the same, and so is the identity.
    #[test]
    fn what_changes_no_result_is_not_in_the_identity() {
        let identity = |more| settings(&more).identity();
        let plain = identity(json!({}));
        for same in [
            json!({ "activations": "recompute" }),
            json!({ "checkpoint_every": 3 }),
            json!({ "lr": 5e-4 }),
            json!({ "withdrawn": "rollback" }),
        ] {
            assert_eq!(identity(same), plain);
        }
        for other in [json!({ "micro_tokens": 1 }), json!({ "lr": 1 }), json!({ "rank": 4 }), json!({ "updates": 6 })] {
            assert_ne!(identity(other), plain);
        }
    }
}
