//! Reverse Preference Optimization (arXiv 2505.22172): −log σ(βD − m), the margin m growing with the pair's
//! difference g. On pairs under reversed instructions; the loss does not see that.

use super::{PairLogps, PairLoss, PreferenceLoss, neg_log_sigmoid, sigmoid};

/// What γ multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Margin {
    /// m = γg: the paper's formula.
    #[default]
    Paper,
    /// m = βγg: what the authors' code computes, that is −log σ(β(D − γg)).
    ReferenceCode,
}

/// RPO. With γ = 0 it is DPO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rpo {
    /// β.
    pub beta: f64,
    /// γ.
    pub gamma: f64,
    /// The margin's convention.
    pub margin: Margin,
}

impl PreferenceLoss for Rpo {
    fn pair(&self, logps: &PairLogps) -> PairLoss {
        let per_gap = match self.margin {
            Margin::Paper => self.gamma,
            Margin::ReferenceCode => self.beta * self.gamma,
        };
        let x = self.beta * logps.log_ratio_difference() - per_gap * logps.gap;
        PairLoss::of_difference(neg_log_sigmoid(x), -self.beta * sigmoid(-x))
    }
}
