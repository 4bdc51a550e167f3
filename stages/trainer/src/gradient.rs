//! Loss and gradient of a batch of pairs, as many pairs at a time as fit a number of tokens.

use crate::backward::Pending;
use crate::error::Error;
use crate::forward::Pass;
use crate::lora::Adapter;
use crate::loss::{PairLogps, PreferenceLoss};
use crate::model::Model;
use crate::pack::Pack;
use crate::pair::{TokenPair, check_all};
use crate::real::Real;

/// Packed tokens per forward pass when no activations are kept.
const TOKENS_PER_PASS: usize = 4_096;

/// Summed log-probs of a pair's two responses, in nats.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ResponseLogps {
    /// Of the chosen response.
    pub chosen: f64,
    /// Of the rejected response.
    pub rejected: f64,
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

/// Mean loss and gradient of a batch, `micro_tokens` packed tokens at a time (at least one pair).
///
/// # Errors
/// A pair or an adapter that does not fit the model, or a number of reference log-probs other than that of pairs.
pub fn batch_gradient<F: Real>(
    model: &Model<F>,
    adapter: &Adapter<F>,
    pairs: &[TokenPair],
    mut reference: &[ResponseLogps],
    loss: &dyn PreferenceLoss,
    micro_tokens: usize,
) -> Result<BatchGradient<F>, Error> {
    adapter.check(&model.config)?;
    check_all(pairs, &model.config)?;
    if reference.len() != pairs.len() {
        let reason = format!("{} log-probs for {} pairs", reference.len(), pairs.len());
        return Err(Error::field("reference", reason));
    }
    let weight = 1.0 / pairs.len() as f64;
    let mut batch = BatchGradient { loss: 0.0, logps: Vec::with_capacity(pairs.len()), gradient: adapter.zeros_like() };
    for pairs in chunks(pairs, micro_tokens) {
        let (known, rest) = reference.split_at(pairs.len());
        reference = rest;
        let pack = pack(pairs);
        let pending = Pending::forward(Pass::new(model, Some(adapter), &pack));
        let logps = responses(&pending.logps);
        let mut coefficients = Vec::with_capacity(pending.logps.len());
        for ((pair, policy), reference) in pairs.iter().zip(&logps).zip(known) {
            let result = loss.pair(&pair_logps(policy, reference, pair.gap));
            batch.loss += weight * result.loss;
            coefficients.extend([weight * result.d_chosen, weight * result.d_rejected]);
        }
        pending.backward(&coefficients, &mut batch.gradient);
        batch.logps.extend(logps);
    }
    Ok(batch)
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

fn pair_logps(policy: &ResponseLogps, reference: &ResponseLogps, gap: f32) -> PairLogps {
    PairLogps {
        chosen: policy.chosen,
        rejected: policy.rejected,
        reference_chosen: reference.chosen,
        reference_rejected: reference.rejected,
        gap: f64::from(gap),
    }
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
}
