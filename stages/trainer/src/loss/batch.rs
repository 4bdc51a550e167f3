//! What a loss is computed from.

use crate::pair::TokenPair;

/// Summed log-probs of one pair's responses under the policy and under the reference, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLogps {
    /// The chosen response under the policy.
    pub chosen: f64,
    /// The rejected response under the policy.
    pub rejected: f64,
    /// The chosen response under the reference.
    pub reference_chosen: f64,
    /// The rejected response under the reference.
    pub reference_rejected: f64,
    /// The pair's difference g: active constraints whose verdicts differ.
    pub gap: f64,
    /// Tokens of the chosen response; 0 where the pair has none.
    pub chosen_tokens: usize,
    /// Tokens of the rejected response; 0 where the pair has none.
    pub rejected_tokens: usize,
}

impl PairLogps {
    /// a: the chosen response's policy-to-reference log-ratio.
    pub fn chosen_ratio(&self) -> f64 {
        self.chosen - self.reference_chosen
    }

    /// b: the rejected response's policy-to-reference log-ratio.
    pub fn rejected_ratio(&self) -> f64 {
        self.rejected - self.reference_rejected
    }

    /// D = a − b.
    pub fn difference(&self) -> f64 {
        self.chosen_ratio() - self.rejected_ratio()
    }

    /// 1/|y| of the chosen and the rejected response.
    pub(super) fn inverse_lengths(&self) -> [f64; 2] {
        [self.chosen_tokens, self.rejected_tokens].map(|tokens| 1.0 / tokens.max(1) as f64)
    }
}

/// Counts over all pairs of an update, known before any log-prob is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pairs.
    pub pairs: usize,
    /// Responses.
    pub responses: usize,
    /// Tokens of the chosen responses.
    pub chosen_tokens: usize,
}

impl Totals {
    /// Counts a batch.
    pub fn of(pairs: &[TokenPair]) -> Self {
        let present = |tokens: &[u32]| usize::from(!tokens.is_empty());
        Self {
            pairs: pairs.len(),
            responses: pairs.iter().map(|pair| present(&pair.chosen) + present(&pair.rejected)).sum(),
            chosen_tokens: pairs.iter().map(|pair| pair.chosen.len()).sum(),
        }
    }
}

/// The log-probs that a loss sees.
#[derive(Clone, Copy, Debug)]
pub struct BatchLogps<'a> {
    /// The pairs: all of an update, or for a loss of [`super::Scope::Pair`] a part of them.
    pub pairs: &'a [PairLogps],
    /// Counts over the whole update.
    pub totals: Totals,
    /// The mean policy-to-reference log-ratio of prompts with another pair's responses, for a loss of
    /// [`super::Scope::Mismatched`]; 0 for others.
    pub mismatched: f64,
}
