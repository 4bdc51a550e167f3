//! What is measured of a batch and of an update, under TRL's names.

use crate::gradient::ResponseLogps;
use crate::pair::TokenPair;

/// Means over the pairs of a batch. A reward is β(log p − reference log p), without a margin; a loss without reference
/// has β log p. Means over nothing are not a number.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Measures {
    /// The mean loss.
    pub loss: f64,
    /// Mean reward of the chosen responses.
    #[serde(rename = "rewards/chosen")]
    pub rewards_chosen: f64,
    /// Mean reward of the rejected responses.
    #[serde(rename = "rewards/rejected")]
    pub rewards_rejected: f64,
    /// Mean of chosen minus rejected reward, over the pairs that have both.
    #[serde(rename = "rewards/margins")]
    pub margins: f64,
    /// Share of the pairs that have both whose chosen reward is the greater.
    #[serde(rename = "rewards/accuracies")]
    pub accuracies: f64,
    /// Mean summed log-prob of the chosen responses, in nats.
    #[serde(rename = "logps/chosen")]
    pub logps_chosen: f64,
    /// Mean summed log-prob of the rejected responses, in nats.
    #[serde(rename = "logps/rejected")]
    pub logps_rejected: f64,
}

/// What one update reports.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Metrics {
    /// The update, counted from 1.
    pub step: u64,
    /// The batch under the adapter before the update.
    #[serde(flatten)]
    pub batch: Measures,
    /// Global norm of the gradient, before clipping.
    pub grad_norm: f64,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// Tokens of all sequences, prompts counted once per response.
    pub tokens: usize,
}

impl Measures {
    /// From the log-probs of a batch.
    pub(crate) fn new(
        loss: f64,
        beta: f64,
        pairs: &[TokenPair],
        policy: &[ResponseLogps],
        reference: &[ResponseLogps],
    ) -> Self {
        let rows = || pairs.iter().zip(policy.iter().zip(reference));
        let chosen = || rows().filter(|(pair, _)| !pair.chosen.is_empty());
        let rejected = || rows().filter(|(pair, _)| !pair.rejected.is_empty());
        let margins = || {
            let both = chosen().filter(|(pair, _)| !pair.rejected.is_empty());
            both.map(|(_, (p, r))| beta * ((p.chosen - r.chosen) - (p.rejected - r.rejected)))
        };
        Self {
            loss,
            rewards_chosen: mean(chosen().map(|(_, (p, r))| beta * (p.chosen - r.chosen))),
            rewards_rejected: mean(rejected().map(|(_, (p, r))| beta * (p.rejected - r.rejected))),
            margins: mean(margins()),
            accuracies: mean(margins().map(|margin| f64::from(u8::from(margin > 0.0)))),
            logps_chosen: mean(chosen().map(|(_, (p, _))| p.chosen)),
            logps_rejected: mean(rejected().map(|(_, (p, _))| p.rejected)),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}
