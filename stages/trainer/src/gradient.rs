//! Loss and gradient of a batch of pairs, added up from those of its parts.

use std::ops::Range;

use crate::error::Error;
use crate::lora::Adapter;
use crate::loss::{BatchLogps, PairLogps, PreferenceLoss, Scope, Totals};
use crate::pair::TokenPair;

/// Summed log-probs of a pair's two responses, in nats; 0 for a response that the pair does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ResponseLogps {
    /// Of the chosen response.
    pub chosen: f64,
    /// Of the rejected response.
    pub rejected: f64,
}

/// What a batch is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The reference's log-probs, pair by pair.
    pub logps: &'a [ResponseLogps],
    /// The mean log-ratio of mismatched prompts and responses, where the loss asks for it ([`mismatched`]).
    pub mismatched: f64,
}

/// A batch's losses, log-probs and gradient.
#[derive(Clone, Debug)]
pub struct BatchGradient<F> {
    /// The mean loss.
    pub loss: f64,
    /// The policy's log-probs, pair by pair.
    pub logps: Vec<ResponseLogps>,
    /// ∂(mean loss)/∂adapter.
    pub gradient: Adapter<F>,
}

/// Every prompt with the responses of the next pair, the last one's with those of the first. Joins of more than `longest`
/// tokens, which a model may not take though it takes the pairs, are left out.
pub fn mismatched(pairs: &[TokenPair], longest: usize) -> Vec<TokenPair> {
    let next = pairs.iter().cycle().skip(1);
    let join = |(pair, next): (&TokenPair, &TokenPair)| TokenPair { prompt: pair.prompt.clone(), ..next.clone() };
    pairs.iter().zip(next).map(join).filter(|join| join.longest() <= longest).collect()
}

/// The mean loss of a batch whose log-probs are known.
pub fn batch_loss(
    loss: &dyn PreferenceLoss,
    pairs: &[TokenPair],
    policy: &[ResponseLogps],
    reference: Reference,
) -> f64 {
    let logps = pair_logps(pairs, policy, reference.logps);
    let batch = BatchLogps { pairs: &logps, totals: Totals::of(pairs), mismatched: reference.mismatched };
    (0..pairs.len()).map(|at| loss.term(at, &batch).loss).sum::<f64>() / pairs.len() as f64
}

/// The losses and log-probs of some pairs of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Their share in the mean loss.
    pub loss: f64,
    /// The policy's log-probs, pair by pair.
    pub logps: Vec<ResponseLogps>,
}

impl Scored {
    pub(crate) fn add(&mut self, part: Self) {
        self.loss += part.loss;
        self.logps.extend(part.logps);
    }
}

/// A batch, whose parts may be computed one after the other, or by several processes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    loss: &'a dyn PreferenceLoss,
    pub(crate) pairs: &'a [TokenPair],
    reference: Reference<'a>,
    /// The policy's log-probs of all pairs, where they were computed before.
    policy: Option<&'a [ResponseLogps]>,
}

impl<'a> Batch<'a> {
    /// A batch and what it is compared with.
    ///
    /// # Errors
    /// Pairs that the loss cannot read, or a number of reference log-probs other than that of pairs.
    pub fn new(loss: &'a dyn PreferenceLoss, pairs: &'a [TokenPair], reference: Reference<'a>) -> Result<Self, Error> {
        check_loss(pairs, reference.logps, loss)?;
        Ok(Self { loss, pairs, reference, policy: None })
    }

    /// The batch, all of whose log-probs under the policy are known.
    pub fn known(self, policy: &'a [ResponseLogps]) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Whether terms read other pairs, whose log-probs then have to be known before a part of the batch is computed.
    pub(crate) fn reads_others(&self) -> bool {
        self.loss.scope() != Scope::Pair
    }

    /// Whether log-probs have to be known before that are not, where the batch is computed in these parts.
    pub(crate) fn needs_all(&self, parts: &[Range<usize>]) -> bool {
        let whole = parts.first().is_none_or(|part| part.len() == self.pairs.len());
        self.policy.is_none() && self.reads_others() && !whole
    }

    /// β, and what g is multiplied by, where the terms of the loss are −log σ(βD − mg).
    pub(crate) fn logistic(&self) -> Option<[f64; 2]> {
        self.loss.logistic()
    }

    /// Some pairs, with the reference's log-probs.
    pub(crate) fn part(&self, range: &Range<usize>) -> (&'a [TokenPair], &'a [ResponseLogps]) {
        (&self.pairs[range.clone()], &self.reference.logps[range.clone()])
    }

    /// The share of the pairs in `range` in the loss, their log-probs, and ∂(mean loss)/∂log p of each of their responses,
    /// whose summed log-probs are given.
    pub(crate) fn terms(&self, range: &Range<usize>, sums: &[f64]) -> (Scored, Vec<f64>) {
        let (logps, (pairs, reference)) = (responses(sums), self.part(range));
        let (known, first) = match self.policy {
            Some(policy) => (pair_logps(self.pairs, policy, self.reference.logps), range.start),
            None => (pair_logps(pairs, &logps, reference), 0),
        };
        let batch = BatchLogps { pairs: &known, totals: Totals::of(self.pairs), mismatched: self.reference.mismatched };
        let weight = 1.0 / self.pairs.len() as f64;
        let (mut loss, mut coefficients) = (0.0, Vec::with_capacity(sums.len()));
        for at in first..first + logps.len() {
            let term = self.loss.term(at, &batch);
            loss += weight * term.loss;
            coefficients.extend([weight * term.d_chosen, weight * term.d_rejected]);
        }
        (Scored { loss, logps }, coefficients)
    }
}

/// Whether the pairs are what the loss can read, with as many log-probs of the reference.
fn check_loss(pairs: &[TokenPair], reference: &[ResponseLogps], loss: &dyn PreferenceLoss) -> Result<(), Error> {
    if reference.len() != pairs.len() {
        let reason = format!("{} log-probs for {} pairs", reference.len(), pairs.len());
        return Err(Error::field("reference", reason));
    }
    pairs.iter().enumerate().try_for_each(|(index, pair)| pair.check_sides(index, loss.sides()))?;
    loss.check_batch(pairs).map_err(|reason| Error::field("pairs", reason))
}

/// The pack's sequences are chosen and rejected in turn.
pub(crate) fn responses(sums: &[f64]) -> Vec<ResponseLogps> {
    let (pairs, _) = sums.as_chunks::<2>();
    pairs.iter().map(|[chosen, rejected]| ResponseLogps { chosen: *chosen, rejected: *rejected }).collect()
}

fn pair_logps(pairs: &[TokenPair], policy: &[ResponseLogps], reference: &[ResponseLogps]) -> Vec<PairLogps> {
    let join = |((pair, policy), reference): ((&TokenPair, &ResponseLogps), &ResponseLogps)| PairLogps {
        chosen: policy.chosen,
        rejected: policy.rejected,
        reference_chosen: reference.chosen,
        reference_rejected: reference.rejected,
        gap: f64::from(pair.gap),
        chosen_tokens: pair.chosen.len(),
        rejected_tokens: pair.rejected.len(),
    };
    pairs.iter().zip(policy).zip(reference).map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mismatched_prompts_get_the_next_responses() {
        let pair = |id: u32| TokenPair { prompt: vec![id], chosen: vec![10 + id], rejected: vec![20 + id], gap: 0.0 };
        let pairs = [pair(1), pair(2), TokenPair { rejected: vec![23; 4], ..pair(3) }];
        let ids = |longest| {
            let found = mismatched(&pairs, longest);
            found.iter().map(|pair| [pair.prompt[0], pair.chosen[0], pair.rejected[0]]).collect::<Vec<_>>()
        };
        assert_eq!(ids(5), [[1, 12, 22], [2, 13, 23], [3, 11, 21]]);
        assert_eq!(ids(4), [[1, 12, 22], [3, 11, 21]]);
    }
}
