//! Direct Preference Optimization: −log σ(βD) (arXiv 2305.18290), and with label smoothing ε
//! (1 − ε)(−log σ(βD)) + ε(−log σ(−βD)) (conservative DPO).

use super::{BatchLogps, PairLoss, PreferenceLoss, neg_log_sigmoid, sigmoid};

/// DPO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dpo {
    /// β.
    pub beta: f64,
    /// ε, the share of pairs taken to be labelled the wrong way round; 0 for plain DPO.
    pub label_smoothing: f64,
}

impl PreferenceLoss for Dpo {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        let (x, eps) = (self.beta * batch.pairs[at].difference(), self.label_smoothing);
        let loss = (1.0 - eps) * neg_log_sigmoid(x) + eps * neg_log_sigmoid(-x);
        PairLoss::of_difference(loss, self.beta * (eps * sigmoid(x) - (1.0 - eps) * sigmoid(-x)))
    }

    fn logistic(&self) -> Option<[f64; 2]> {
        (self.label_smoothing == 0.0).then_some([self.beta, 0.0])
    }
}
