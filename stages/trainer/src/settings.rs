//! The settings of a training run. Defaults are the published recipe.

use crate::adamw::AdamW;
use crate::error::Error;
use crate::loss::{Dpo, Margin, PreferenceLoss, Rpo};
use crate::schedule::Schedule;

/// The losses that can be chosen by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossKind {
    /// [`Rpo`].
    #[default]
    Rpo,
    /// [`Dpo`].
    Dpo,
}

/// The settings of a training run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// The loss.
    pub loss: LossKind,
    /// RPO's margin convention.
    pub margin: Margin,
    /// DPO's label smoothing ε, from 0 to below 0.5.
    pub label_smoothing: f64,
    /// β of the loss and of the rewards.
    pub beta: f64,
    /// γ of RPO's margin; 0 makes it DPO.
    pub gamma: f64,
    /// The peak learning rate.
    pub lr: f64,
    /// The learning rate after warm-up.
    pub schedule: Schedule,
    /// The share of `total_steps` over which the rate rises from 0.
    pub warmup_ratio: f64,
    /// Updates in the whole run, which the schedule is stretched over.
    pub total_steps: u64,
    /// λ of AdamW.
    pub weight_decay: f64,
    /// β₁ of AdamW.
    pub adam_beta1: f64,
    /// β₂ of AdamW.
    pub adam_beta2: f64,
    /// ε of AdamW.
    pub adam_eps: f64,
    /// Gradients are scaled down to this global norm; 0 is off.
    pub max_grad_norm: f64,
    /// Packed tokens of the pairs that are computed at once, a pair's prompt counted once; a longer pair is computed
    /// alone. Memory grows with it, the result does not change but for rounding.
    pub micro_tokens: usize,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            loss: LossKind::Rpo,
            margin: Margin::Paper,
            label_smoothing: 0.0,
            beta: 0.1,
            gamma: 0.05,
            lr: 5e-4,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.1,
            total_steps: 1,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_eps: 1e-8,
            max_grad_norm: 1.0,
            micro_tokens: 4_096,
        }
    }
}

impl TrainSettings {
    /// Checks the fields.
    ///
    /// # Errors
    /// Names the field and the rule it breaks.
    pub fn check(&self) -> Result<(), Error> {
        let most = f64::MAX;
        in_range("label_smoothing", self.label_smoothing, 0.0, 0.499_999)?;
        in_range("beta", self.beta, f64::MIN_POSITIVE, most)?;
        in_range("gamma", self.gamma, 0.0, most)?;
        in_range("lr", self.lr, 0.0, most)?;
        in_range("warmup_ratio", self.warmup_ratio, 0.0, 1.0)?;
        in_range("weight_decay", self.weight_decay, 0.0, most)?;
        in_range("adam_beta1", self.adam_beta1, 0.0, 0.999_999_9)?;
        in_range("adam_beta2", self.adam_beta2, 0.0, 0.999_999_9)?;
        in_range("adam_eps", self.adam_eps, f64::MIN_POSITIVE, most)?;
        in_range("max_grad_norm", self.max_grad_norm, 0.0, most)?;
        in_range("total_steps", self.total_steps as f64, 1.0, 1e15)?;
        in_range("micro_tokens", self.micro_tokens as f64, 1.0, 1e9)
    }

    /// The loss that the settings describe.
    pub fn preference_loss(&self) -> Box<dyn PreferenceLoss> {
        match self.loss {
            LossKind::Rpo => Box::new(Rpo { beta: self.beta, gamma: self.gamma, margin: self.margin }),
            LossKind::Dpo => Box::new(Dpo { beta: self.beta, label_smoothing: self.label_smoothing }),
        }
    }

    /// The optimizer that the settings describe.
    pub fn optimizer(&self) -> AdamW {
        AdamW { beta1: self.adam_beta1, beta2: self.adam_beta2, eps: self.adam_eps, weight_decay: self.weight_decay }
    }

    /// The learning rate of the update after `done` updates.
    pub fn learning_rate(&self, done: u64) -> f64 {
        self.lr * self.schedule.factor(done, self.total_steps, self.warmup_ratio)
    }
}

fn in_range(field: &str, value: f64, least: f64, most: f64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let rule = match (least, most) {
        (0.0, f64::MAX) => "must be a number, 0 or more".to_owned(),
        (f64::MIN_POSITIVE, f64::MAX) => "must be a positive number".to_owned(),
        _ => format!("must be from {least} to {most}"),
    };
    Err(Error::field(field, format!("{value} {rule}")))
}
