//! Reverse Preference Optimization (arXiv 2505.22172): −log σ(βD − m), the margin m growing with the pair's
//! difference g. On pairs under reversed instructions; the loss does not see that.

use super::{BatchLogps, PairLoss, PreferenceLoss, neg_log_sigmoid, sigmoid};

/// What γ multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
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

impl Rpo {
    /// What g is multiplied by in x.
    fn per_gap(&self) -> f64 {
        match self.margin {
            Margin::Paper => self.gamma,
            Margin::ReferenceCode => self.beta * self.gamma,
        }
    }
}

impl PreferenceLoss for Rpo {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        let pair = &batch.pairs[at];
        let x = self.beta * pair.difference() - self.per_gap() * pair.gap;
        PairLoss::of_difference(neg_log_sigmoid(x), -self.beta * sigmoid(-x))
    }

    fn logistic(&self) -> Option<[f64; 2]> {
        Some([self.beta, self.per_gap()])
    }
}
