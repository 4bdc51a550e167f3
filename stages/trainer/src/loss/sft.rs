//! Supervised fine-tuning on the chosen responses: their negative log-likelihood per token.

use super::{BatchLogps, PairLoss, PreferenceLoss, Sides, nll};

/// SFT. Rejected responses are not looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sft;

impl PreferenceLoss for Sft {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        nll::of_chosen(&batch.pairs[at], &batch.totals)
    }

    fn sides(&self) -> Sides {
        Sides::Chosen
    }

    fn uses_reference(&self) -> bool {
        false
    }
}
