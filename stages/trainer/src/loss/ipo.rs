//! Identity Preference Optimization: (D − 1/(2β))² (arXiv 2310.12036). The paper's log-ratios are sums over the
//! response; some frameworks divide each by the response's length.

use super::{BatchLogps, PairLoss, PreferenceLoss};

/// How a response's log-prob is made of its tokens'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Average {
    /// Their sum: the paper's.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

/// IPO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ipo {
    /// β; the target of the difference is 1/(2β).
    pub beta: f64,
    /// Sums or means.
    pub average: Average,
}

impl PreferenceLoss for Ipo {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        let pair = &batch.pairs[at];
        let [chosen, rejected] = match self.average {
            Average::Sum => [1.0, 1.0],
            Average::Mean => pair.inverse_lengths(),
        };
        let excess = pair.chosen_ratio() * chosen - pair.rejected_ratio() * rejected - 0.5 / self.beta;
        PairLoss { loss: excess * excess, d_chosen: 2.0 * excess * chosen, d_rejected: -2.0 * excess * rejected }
    }
}
