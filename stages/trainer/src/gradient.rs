//! Loss and gradient of a batch of pairs, as many pairs at a time as fit a number of tokens.

use crate::backward::Pending;
use crate::error::Error;
use crate::forward::Pass;
use crate::lora::Adapter;
use crate::loss::{BatchLogps, PairLogps, PreferenceLoss, Scope, Totals};
use crate::model::Model;
use crate::pack::Pack;
use crate::pair::{TokenPair, check_all};
use crate::real::Real;

/// Packed tokens per forward pass when no activations are kept.
const TOKENS_PER_PASS: usize = 4_096;

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

/// The log-probs of every pair's responses, with or without an adapter.
///
/// # Errors
/// A pair that does not fit the model, or an adapter that does not.
pub fn logprobs<F: Real>(
    model: &Model<F>,
    adapter: Option<&Adapter<F>>,
    pairs: &[TokenPair],
) -> Result<Vec<ResponseLogps>, Error> {
    adapter.map_or(Ok(()), |adapter| adapter.check(&model.config))?;
    check_all(pairs, &model.config)?;
    let logps = chunks(pairs, TOKENS_PER_PASS).flat_map(|pairs| {
        let pack = pack(pairs);
        let pass = Pass::new(model, adapter, &pack);
        let tokens = pass.target_logps(&pass.run(drop), false);
        responses(&pass.by_sequence(&tokens.logps))
    });
    Ok(logps.collect())
}

/// Every prompt with the responses of the next pair, the last one's with those of the first.
pub fn mismatched(pairs: &[TokenPair]) -> Vec<TokenPair> {
    let next = pairs.iter().cycle().skip(1);
    let join = |(pair, next): (&TokenPair, &TokenPair)| TokenPair { prompt: pair.prompt.clone(), ..next.clone() };
    pairs.iter().zip(next).map(join).collect()
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

/// Mean loss and gradient of a batch, `micro_tokens` packed tokens at a time (at least one pair). The result does not
/// depend on `micro_tokens` but for rounding: where terms read other pairs, and the batch takes several passes, all
/// log-probs are computed before.
///
/// # Errors
/// A pair or an adapter that does not fit the model or the loss, or a number of reference log-probs other than that of
/// pairs.
pub fn batch_gradient<F: Real>(
    model: &Model<F>,
    adapter: &Adapter<F>,
    pairs: &[TokenPair],
    reference: Reference<'_>,
    loss: &dyn PreferenceLoss,
    micro_tokens: usize,
) -> Result<BatchGradient<F>, Error> {
    adapter.check(&model.config)?;
    check_all(pairs, &model.config)?;
    check_loss(pairs, reference.logps, loss)?;
    let passes: Vec<&[TokenPair]> = chunks(pairs, micro_tokens).collect();
    let known = match loss.scope() {
        Scope::Batch | Scope::Mismatched if passes.len() > 1 => Some(logprobs(model, Some(adapter), pairs)?),
        _ => None,
    };
    let mut sum = Sum {
        loss,
        pairs,
        reference,
        known: known.map(|policy| pair_logps(pairs, &policy, reference.logps)),
        batch: BatchGradient { loss: 0.0, logps: Vec::with_capacity(pairs.len()), gradient: adapter.zeros_like() },
    };
    for pairs in passes {
        let pack = pack(pairs);
        sum.add(Pending::forward(Pass::new(model, Some(adapter), &pack)));
    }
    Ok(sum.batch)
}

/// A batch's gradient as it grows pass by pass.
struct Sum<'a, F> {
    loss: &'a dyn PreferenceLoss,
    pairs: &'a [TokenPair],
    reference: Reference<'a>,
    /// All log-probs, where they were computed before.
    known: Option<Vec<PairLogps>>,
    batch: BatchGradient<F>,
}

impl<F: Real> Sum<'_, F> {
    fn add(&mut self, pending: Pending<'_, F>) {
        let (logps, first) = (responses(&pending.logps), self.batch.logps.len());
        let range = first..first + logps.len();
        let part = pair_logps(&self.pairs[range.clone()], &logps, &self.reference.logps[range]);
        let (pairs, first) = self.known.as_ref().map_or((&part, 0), |known| (known, first));
        let terms = BatchLogps { pairs, totals: Totals::of(self.pairs), mismatched: self.reference.mismatched };
        let weight = 1.0 / self.pairs.len() as f64;
        let mut coefficients = Vec::with_capacity(pending.logps.len());
        for at in first..first + logps.len() {
            let term = self.loss.term(at, &terms);
            self.batch.loss += weight * term.loss;
            coefficients.extend([weight * term.d_chosen, weight * term.d_rejected]);
        }
        pending.backward(&coefficients, &mut self.batch.gradient);
        self.batch.logps.extend(logps);
    }
}

fn check_loss(pairs: &[TokenPair], reference: &[ResponseLogps], loss: &dyn PreferenceLoss) -> Result<(), Error> {
    if reference.len() != pairs.len() {
        let reason = format!("{} log-probs for {} pairs", reference.len(), pairs.len());
        return Err(Error::field("reference", reason));
    }
    pairs.iter().enumerate().try_for_each(|(index, pair)| pair.check_sides(index, loss.sides()))?;
    loss.check_batch(pairs).map_err(|reason| Error::field("pairs", reason))
}

/// Consecutive pairs of at most `tokens` packed tokens together, or one that has more.
fn chunks(mut pairs: &[TokenPair], tokens: usize) -> impl Iterator<Item = &[TokenPair]> {
    std::iter::from_fn(move || {
        let mut sum = 0_usize;
        let beyond = pairs.iter().position(|pair| {
            sum += pair.packed_tokens();
            sum > tokens
        });
        let count = beyond.map_or(pairs.len(), |beyond| beyond.max(1));
        let (chunk, rest) = pairs.split_at(count);
        pairs = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn pack(pairs: &[TokenPair]) -> Pack {
    let mut pack = Pack::default();
    for pair in pairs {
        pack.push(&pair.prompt, &[&pair.chosen, &pair.rejected]);
    }
    pack
}

/// The pack's sequences are chosen and rejected in turn.
fn responses(sums: &[f64]) -> Vec<ResponseLogps> {
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
    fn chunks_fill_up_and_hold_at_least_a_pair() {
        let pair =
            |tokens: usize| TokenPair { prompt: vec![0; tokens - 2], chosen: vec![0], rejected: vec![0], gap: 1.0 };
        let lengths = |sizes: &[usize], tokens| {
            let pairs: Vec<_> = sizes.iter().map(|size| pair(*size)).collect();
            chunks(&pairs, tokens).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[4, 6, 5, 12, 3, 3, 4], 10), [2, 1, 1, 3]);
        assert_eq!(lengths(&[12, 4], 10), [1, 1]);
        assert_eq!(lengths(&[4, 4], usize::MAX), [2]);
        assert_eq!(lengths(&[], 10), [] as [usize; 0]);
    }

    #[test]
    fn mismatched_prompts_get_the_next_responses() {
        let pair = |id: u32| TokenPair { prompt: vec![id], chosen: vec![10 + id], rejected: vec![20 + id], gap: 0.0 };
        let found = mismatched(&[pair(1), pair(2), pair(3)]);
        let ids: Vec<_> = found.iter().map(|pair| [pair.prompt[0], pair.chosen[0], pair.rejected[0]]).collect();
        assert_eq!(ids, [[1, 12, 22], [2, 13, 23], [3, 11, 21]]);
    }
}
