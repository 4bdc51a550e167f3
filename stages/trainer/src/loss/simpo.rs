//! Simple Preference Optimization (arXiv 2405.14734): −log σ(β(log p_w/|w| − log p_l/|l|) − γ), without a reference.

use super::{BatchLogps, PairLoss, PreferenceLoss, neg_log_sigmoid, sigmoid};

/// SimPO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simpo {
    /// β.
    pub beta: f64,
    /// γ, the target margin.
    pub gamma: f64,
}

impl PreferenceLoss for Simpo {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        let pair = &batch.pairs[at];
        let [chosen, rejected] = pair.inverse_lengths();
        let x = self.beta * (pair.chosen * chosen - pair.rejected * rejected) - self.gamma;
        let slope = -self.beta * sigmoid(-x);
        PairLoss { loss: neg_log_sigmoid(x), d_chosen: slope * chosen, d_rejected: -slope * rejected }
    }

    fn uses_reference(&self) -> bool {
        false
    }
}
