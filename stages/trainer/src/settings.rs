//! The settings of a training run. Defaults are the published recipe.

use crate::adamw::AdamW;
use crate::error::Error;
use crate::loss::{Average, Dpo, Iopo, Ipo, Kto, KtoBaseline, Margin, Orpo, PreferenceLoss, Rpo, Sft, Simpo, WithNll};
use crate::place::Place;
use crate::schedule::Schedule;

/// Packed tokens of a pass, unless told otherwise: enough for products at full speed.
pub const MICRO_TOKENS: usize = 512;

/// The losses that can be chosen by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LossKind {
    /// [`Rpo`].
    #[default]
    Rpo,
    /// [`Dpo`].
    Dpo,
    /// [`Ipo`].
    Ipo,
    /// [`Kto`].
    Kto,
    /// [`Simpo`].
    Simpo,
    /// [`Orpo`].
    Orpo,
    /// [`Iopo`].
    Iopo,
    /// [`Sft`].
    Sft,
}

/// What the rewards and the losses compare the policy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReferenceKind {
    /// The model without an adapter.
    #[default]
    Base,
    /// The model with the adapter that training starts from.
    Start,
}

/// What happens to a block's activations between its forward and its backward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// They are kept: fastest.
    #[default]
    Keep,
    /// Only the block's input is, and the rest is computed again: a third more work, about a tenth of the memory.
    Recompute,
}

/// The settings of a training run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// The loss.
    pub loss: LossKind,
    /// RPO's margin convention.
    pub margin: Margin,
    /// DPO's label smoothing ε, from 0 to below 0.5.
    pub label_smoothing: f64,
    /// β of the loss and of the rewards; 0.1 by default, for SimPO 2.
    pub beta: Option<f64>,
    /// γ of RPO's margin, 0.05 by default (0 makes it DPO); of SimPO's, 1 by default.
    pub gamma: Option<f64>,
    /// Whether IPO's log-ratios are sums over a response or means.
    pub ipo_average: Average,
    /// How KTO's z is estimated.
    pub kto_baseline: KtoBaseline,
    /// KTO's weight of chosen responses.
    pub desirable_weight: f64,
    /// KTO's weight of rejected responses.
    pub undesirable_weight: f64,
    /// λ of ORPO.
    pub orpo_lambda: f64,
    /// Weight of the chosen responses' NLL per token, added to the loss.
    pub nll_weight: f64,
    /// What the policy is compared with. Not read from files: it tells only where training starts from an adapter that
    /// is not new, which the caller brings (in a new one B is 0, so that `start` is `base`).
    #[serde(skip_deserializing)]
    pub reference: ReferenceKind,
    /// The peak learning rate.
    pub lr: f64,
    /// The learning rate after warm-up.
    pub schedule: Schedule,
    /// The share of the updates over which the rate rises from 0; 0.1 by default, 0 for the schedule `constant`.
    pub warmup_ratio: Option<f64>,
    /// Updates in the whole run, which the schedule is stretched over. Not read from files: the caller counts them.
    #[serde(skip_deserializing)]
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
    /// Packed tokens of the pairs that one pass computes, a pair's prompt counted once; a longer pair is computed alone.
    /// There is a pass at a time for every thread, while there are pairs. Memory grows with it, the result does not change
    /// but for rounding.
    pub micro_tokens: usize,
    /// Whether a pass keeps its activations.
    pub activations: Activations,
    /// `cpu`, `auto` (the first GPU, or this machine's threads where there is none), or `cuda:N`. A GPU stores weights and
    /// activations in bfloat16. `cpu` by default.
    pub device: Place,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            loss: LossKind::Rpo,
            margin: Margin::Paper,
            label_smoothing: 0.0,
            beta: None,
            gamma: None,
            ipo_average: Average::Sum,
            kto_baseline: KtoBaseline::Mismatched,
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
            orpo_lambda: 0.1,
            nll_weight: 0.0,
            reference: ReferenceKind::Base,
            lr: 5e-4,
            schedule: Schedule::Cosine,
            warmup_ratio: None,
            total_steps: 1,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_eps: 1e-8,
            max_grad_norm: 1.0,
            micro_tokens: MICRO_TOKENS,
            activations: Activations::Keep,
            device: Place::Cpu,
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
        in_range("beta", self.beta(), f64::MIN_POSITIVE, most)?;
        in_range("gamma", self.gamma(), 0.0, most)?;
        in_range("desirable_weight", self.desirable_weight, 0.0, most)?;
        in_range("undesirable_weight", self.undesirable_weight, 0.0, most)?;
        in_range("orpo_lambda", self.orpo_lambda, 0.0, most)?;
        in_range("nll_weight", self.nll_weight, 0.0, most)?;
        in_range("lr", self.lr, 0.0, most)?;
        in_range("warmup_ratio", self.warmup_ratio(), 0.0, 1.0)?;
        in_range("weight_decay", self.weight_decay, 0.0, most)?;
        in_range("adam_beta1", self.adam_beta1, 0.0, 0.999_999_9)?;
        in_range("adam_beta2", self.adam_beta2, 0.0, 0.999_999_9)?;
        in_range("adam_eps", self.adam_eps, f64::MIN_POSITIVE, most)?;
        in_range("max_grad_norm", self.max_grad_norm, 0.0, most)?;
        in_range("total_steps", self.total_steps as f64, 1.0, 1e15)?;
        in_range("micro_tokens", self.micro_tokens as f64, 1.0, 1e9)
    }

    /// The settings as far as results depend on them: what memory is spared, and how, changes no bit; which GPU
    /// computes may change the last ones, as on any.
    pub fn decisive(&self) -> Self {
        let device = match self.device.found() {
            Place::Cuda(_) => Place::Cuda(0),
            place => place,
        };
        Self { activations: Activations::default(), device, ..self.clone() }
    }

    /// β.
    pub fn beta(&self) -> f64 {
        self.beta.unwrap_or(if self.loss == LossKind::Simpo { 2.0 } else { 0.1 })
    }

    /// γ.
    pub fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(if self.loss == LossKind::Simpo { 1.0 } else { 0.05 })
    }

    /// The share of the updates over which the rate rises.
    pub fn warmup_ratio(&self) -> f64 {
        self.warmup_ratio.unwrap_or(if self.schedule == Schedule::Constant { 0.0 } else { 0.1 })
    }

    /// The loss that the settings describe.
    pub fn preference_loss(&self) -> Box<dyn PreferenceLoss> {
        let (beta, gamma) = (self.beta(), self.gamma());
        let loss: Box<dyn PreferenceLoss> = match self.loss {
            LossKind::Rpo => Box::new(Rpo { beta, gamma, margin: self.margin }),
            LossKind::Dpo => Box::new(Dpo { beta, label_smoothing: self.label_smoothing }),
            LossKind::Ipo => Box::new(Ipo { beta, average: self.ipo_average }),
            LossKind::Kto => Box::new(self.kto()),
            LossKind::Simpo => Box::new(Simpo { beta, gamma }),
            LossKind::Orpo => Box::new(Orpo { lambda: self.orpo_lambda }),
            LossKind::Iopo => Box::new(Iopo { beta }),
            LossKind::Sft => Box::new(Sft),
        };
        match self.nll_weight {
            0.0 => loss,
            weight => Box::new(WithNll { loss, weight }),
        }
    }

    fn kto(&self) -> Kto {
        Kto {
            beta: self.beta(),
            desirable_weight: self.desirable_weight,
            undesirable_weight: self.undesirable_weight,
            baseline: self.kto_baseline,
        }
    }

    /// The optimizer that the settings describe.
    pub fn optimizer(&self) -> AdamW {
        AdamW { beta1: self.adam_beta1, beta2: self.adam_beta2, eps: self.adam_eps, weight_decay: self.weight_decay }
    }

    /// The learning rate of the update after `done` updates.
    pub fn learning_rate(&self, done: u64) -> f64 {
        self.lr * self.schedule.factor(done, self.total_steps, self.warmup_ratio())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_first_except_on_a_constant_schedule_that_is_not_told_to() {
        let first = |(schedule, warmup_ratio)| {
            let settings =
                TrainSettings { schedule, warmup_ratio, lr: 1.0, total_steps: 10, ..TrainSettings::default() };
            settings.learning_rate(0)
        };
        let (constant, linear, cosine) = (Schedule::Constant, Schedule::Linear, Schedule::Cosine);
        let untold = [constant, linear, cosine].map(|schedule| first((schedule, None)));
        assert_eq!(untold, [1.0, 0.0, 0.0]);
        assert_eq!([(constant, Some(0.2)), (cosine, Some(0.0))].map(first), [0.0, 1.0]);
    }
}
