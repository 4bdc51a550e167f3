//! Kahneman-Tversky Optimization (arXiv 2402.01306): a desirable response costs w_D(1 − σ(β(a − z))), an undesirable one
//! w_U(1 − σ(β(z − b))). The loss is the mean over responses. The chosen response of a pair is desirable, the rejected
//! one undesirable, and a row may have one of the two only.
//!
//! z is what a log-ratio is compared with, at least 0, and a constant in the derivatives.

use super::{BatchLogps, PairLogps, PairLoss, PreferenceLoss, Scope, Sides, sigmoid};

/// How z is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KtoBaseline {
    /// The batch's mean log-ratio of every prompt with the responses of the next pair: the paper's estimate of the
    /// divergence. Joins that are longer than the model takes are left out. Costs a forward pass of policy and reference
    /// more. A batch of one pair has no other: there z is 0.
    #[default]
    Mismatched,
    /// Chosen responses are compared with the mean of the rejected ones' log-ratios, and the other way round.
    Pair,
    /// 0.
    Zero,
}

/// KTO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kto {
    /// β.
    pub beta: f64,
    /// w_D.
    pub desirable_weight: f64,
    /// w_U.
    pub undesirable_weight: f64,
    /// How z is estimated.
    pub baseline: KtoBaseline,
}

impl Kto {
    /// z of chosen and of rejected responses.
    fn baselines(&self, batch: &BatchLogps<'_>) -> [f64; 2] {
        let z = match self.baseline {
            KtoBaseline::Mismatched => [batch.mismatched; 2],
            KtoBaseline::Pair => {
                let present = |tokens: fn(&PairLogps) -> usize, ratio: fn(&PairLogps) -> f64| {
                    mean(batch.pairs.iter().filter(|pair| tokens(pair) > 0).map(ratio))
                };
                [
                    present(|pair| pair.rejected_tokens, PairLogps::rejected_ratio),
                    present(|pair| pair.chosen_tokens, PairLogps::chosen_ratio),
                ]
            }
            KtoBaseline::Zero => [0.0; 2],
        };
        z.map(|z| z.max(0.0))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

impl PreferenceLoss for Kto {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        let pair = &batch.pairs[at];
        let [z_chosen, z_rejected] = self.baselines(batch);
        // The mean over responses as a mean over pairs.
        let weight = batch.totals.pairs as f64 / batch.totals.responses.max(1) as f64;
        let side = |tokens: usize, x: f64, side_weight: f64| {
            let (weight, kept) = (if tokens > 0 { weight * side_weight } else { 0.0 }, sigmoid(x));
            (weight * (1.0 - kept), -weight * self.beta * kept * (1.0 - kept))
        };
        let x_chosen = self.beta * (pair.chosen_ratio() - z_chosen);
        let x_rejected = self.beta * (z_rejected - pair.rejected_ratio());
        let (desirable, d_chosen) = side(pair.chosen_tokens, x_chosen, self.desirable_weight);
        let (undesirable, slope) = side(pair.rejected_tokens, x_rejected, self.undesirable_weight);
        PairLoss { loss: desirable + undesirable, d_chosen, d_rejected: -slope }
    }

    fn scope(&self) -> Scope {
        match self.baseline {
            KtoBaseline::Mismatched => Scope::Mismatched,
            KtoBaseline::Pair => Scope::Batch,
            KtoBaseline::Zero => Scope::Pair,
        }
    }

    fn sides(&self) -> Sides {
        Sides::Either
    }
}
