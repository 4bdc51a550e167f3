//! Odds Ratio Preference Optimization (arXiv 2403.07691): NLL(y_w) − λ log σ(log odds(w) − log odds(l)), with
//! odds = p/(1 − p), p = exp(log p/|y|) the mean token's probability, without a reference. NLL is per token.

use super::{BatchLogps, PairLoss, PreferenceLoss, neg_log_sigmoid, nll, sigmoid};

/// ORPO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orpo {
    /// λ, the weight of the odds ratio.
    pub lambda: f64,
}

/// log odds and its derivative, from a mean log-prob m: m − log(1 − eᵐ) and 1/(1 − eᵐ). m is kept below 0, where the
/// odds are infinite.
fn log_odds(mean: f64) -> (f64, f64) {
    let rest = -mean.min(-1e-12).exp_m1();
    (mean - rest.ln(), 1.0 / rest)
}

impl PreferenceLoss for Orpo {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        let pair = &batch.pairs[at];
        let [chosen, rejected] = pair.inverse_lengths();
        let (odds_chosen, d_odds_chosen) = log_odds(pair.chosen * chosen);
        let (odds_rejected, d_odds_rejected) = log_odds(pair.rejected * rejected);
        let x = odds_chosen - odds_rejected;
        let slope = -self.lambda * sigmoid(-x);
        let likely = nll::of_chosen(pair, &batch.totals);
        PairLoss {
            loss: likely.loss + self.lambda * neg_log_sigmoid(x),
            d_chosen: likely.d_chosen + slope * d_odds_chosen * chosen,
            d_rejected: -slope * d_odds_rejected * rejected,
        }
    }

    fn uses_reference(&self) -> bool {
        false
    }
}
