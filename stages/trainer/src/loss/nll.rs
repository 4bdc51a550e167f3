//! The negative log-likelihood of the chosen responses: −Σ log p / Σ|y|, the mean over all their tokens. On its own it is
//! SFT; added to another loss with a weight it keeps the chosen responses likely (arXiv 2404.19733; SPaR adds 0.1).

use super::{BatchLogps, PairLogps, PairLoss, PreferenceLoss, Scope, Sides, Totals};
use crate::pair::TokenPair;

/// A pair's term: the mean over tokens, as a mean over pairs.
pub(super) fn of_chosen(pair: &PairLogps, totals: &Totals) -> PairLoss {
    let weight = totals.pairs as f64 / totals.chosen_tokens.max(1) as f64;
    PairLoss { loss: -weight * pair.chosen, d_chosen: -weight, d_rejected: 0.0 }
}

/// A loss with the weighted NLL of the chosen responses added.
#[derive(Debug)]
pub struct WithNll {
    /// The loss.
    pub loss: Box<dyn PreferenceLoss>,
    /// The weight of the NLL.
    pub weight: f64,
}

impl PreferenceLoss for WithNll {
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss {
        let (term, likely) = (self.loss.term(at, batch), of_chosen(&batch.pairs[at], &batch.totals));
        PairLoss {
            loss: term.loss + self.weight * likely.loss,
            d_chosen: term.d_chosen + self.weight * likely.d_chosen,
            d_rejected: term.d_rejected,
        }
    }

    fn scope(&self) -> Scope {
        self.loss.scope()
    }

    fn sides(&self) -> Sides {
        self.loss.sides()
    }

    fn uses_reference(&self) -> bool {
        self.loss.uses_reference()
    }

    fn units(&self, pairs: &[TokenPair]) -> (Vec<Vec<usize>>, Vec<usize>) {
        self.loss.units(pairs)
    }

    fn check_batch(&self, pairs: &[TokenPair]) -> Result<(), String> {
        self.loss.check_batch(pairs)
    }
}
