//! Losses over preference pairs: one file each.

mod batch;
mod dpo;
mod iopo;
mod ipo;
mod kto;
mod nll;
mod orpo;
mod rpo;
mod sft;
mod simpo;

use std::fmt::Debug;

use crate::pair::TokenPair;

pub use batch::{BatchLogps, PairLogps, Totals};
pub use dpo::Dpo;
pub use iopo::Iopo;
pub use ipo::{Average, Ipo};
pub use kto::{Kto, KtoBaseline};
pub use nll::WithNll;
pub use orpo::Orpo;
pub use rpo::{Margin, Rpo};
pub use sft::Sft;
pub use simpo::Simpo;

/// A pair's term of the loss, and the derivatives of the sum of all terms with respect to this pair's log-probs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairLoss {
    /// The term; a batch's loss is the mean of its terms.
    pub loss: f64,
    /// ∂(Σ terms)/∂log p of the chosen response.
    pub d_chosen: f64,
    /// ∂(Σ terms)/∂log p of the rejected response.
    pub d_rejected: f64,
}

impl PairLoss {
    /// A loss that depends on the pair only through D.
    fn of_difference(loss: f64, derivative: f64) -> Self {
        Self { loss, d_chosen: derivative, d_rejected: -derivative }
    }
}

/// What a term is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The pair itself: terms can be computed as soon as the pair's own log-probs are known.
    Pair,
    /// Other pairs of the batch too.
    Batch,
    /// Other pairs, and the mean log-ratio of prompts with another pair's responses.
    Mismatched,
}

/// The responses that a pair must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// Both.
    Both,
    /// The chosen one.
    Chosen,
    /// One of the two.
    Either,
}

/// A loss over preference pairs.
///
/// **Contract**: a pure function, finite for finite input; `d_chosen` and `d_rejected` are the exact derivatives of the
/// sum of all terms of a batch (a baseline such as KTO's z is a constant in them); a term depends on what `scope` says
/// and on the totals, on nothing else.
pub trait PreferenceLoss: Debug + Send + Sync {
    /// The term of pair number `at`. With [`Scope::Pair`] the batch may hold a part of the pairs.
    fn term(&self, at: usize, batch: &BatchLogps<'_>) -> PairLoss;

    /// What a term is computed from.
    fn scope(&self) -> Scope {
        Scope::Pair
    }

    /// The responses that a pair must have.
    fn sides(&self) -> Sides {
        Sides::Both
    }

    /// Whether terms depend on the reference's log-probs.
    fn uses_reference(&self) -> bool {
        true
    }

    /// β and m, where a term is −log σ(βD − mg) of the pair itself.
    fn logistic(&self) -> Option<[f64; 2]> {
        None
    }

    /// Pairs that have to stand together in a batch, each unit in its order and all units of one size, and those that
    /// lack a partner: by default every pair stands for itself.
    fn units(&self, pairs: &[TokenPair]) -> (Vec<Vec<usize>>, Vec<usize>) {
        ((0..pairs.len()).map(|at| vec![at]).collect(), Vec::new())
    }

    /// Checks that pairs can stand together in one batch.
    ///
    /// # Errors
    /// Says what is wrong.
    fn check_batch(&self, _pairs: &[TokenPair]) -> Result<(), String> {
        Ok(())
    }
}

/// −log σ(x), without overflow.
fn neg_log_sigmoid(x: f64) -> f64 {
    (-x).max(0.0) + (-x.abs()).exp().ln_1p()
}

/// σ(x) = 1/(1 + e^−x), without overflow.
fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests;
