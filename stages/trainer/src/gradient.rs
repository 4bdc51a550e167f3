//! Loss and gradient of a batch of pairs, as many pairs at a time as fit a number of tokens.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backward::Pending;
use crate::buffers::Buffers;
use crate::error::Error;
use crate::forward::Pass;
use crate::lanes::Lanes;
use crate::lora::Adapter;
use crate::loss::{BatchLogps, PairLogps, PreferenceLoss, Scope, Totals};
use crate::model::Model;
use crate::ops::vector::add;
use crate::pack::Pack;
use crate::pair::{TokenPair, check_all};
use crate::real::Real;
use crate::settings::{Activations, MICRO_TOKENS};

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

/// What computes batches: threads with their memory, and how much each takes at a time.
#[derive(Debug)]
pub struct Passes<F> {
    lanes: Mutex<Lanes<F>>,
    /// Memory for gradients.
    spare: Mutex<Vec<Adapter<F>>>,
    micro_tokens: usize,
    activations: Activations,
}

impl<F: Real> Default for Passes<F> {
    fn default() -> Self {
        Self::new(MICRO_TOKENS, Activations::Keep)
    }
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
    Passes::default().logprobs(model, adapter, pairs)
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

impl<F: Real> Passes<F> {
    /// Passes of `micro_tokens` packed tokens, each of at least one pair.
    pub fn new(micro_tokens: usize, activations: Activations) -> Self {
        Self { lanes: Mutex::default(), spare: Mutex::default(), micro_tokens, activations }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes<F>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Adapter<F>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of working memory asked of the system so far.
    pub fn asked(&self) -> usize {
        self.lanes().asked()
    }

    /// A gradient of zeros, in memory that was given back where there is some.
    fn zeros(&self, adapter: &Adapter<F>) -> Adapter<F> {
        let spare = self.spare().pop().filter(|spare| spare.has_shape_of(adapter));
        let Some(mut gradient) = spare else { return adapter.zeros_like() };
        gradient.matrices_mut().for_each(|matrix| matrix.data.fill(F::ZERO));
        gradient
    }

    /// Gives the memory of a gradient back, for the next one.
    pub fn give_back(&self, gradient: Adapter<F>) {
        self.spare().push(gradient);
    }

    /// The log-probs of every pair's responses, with or without an adapter.
    ///
    /// # Errors
    /// A pair that does not fit the model, or an adapter that does not.
    pub fn logprobs(
        &self,
        model: &Model<F>,
        adapter: Option<&Adapter<F>>,
        pairs: &[TokenPair],
    ) -> Result<Vec<ResponseLogps>, Error> {
        adapter.map_or(Ok(()), |adapter| adapter.check(&model.config))?;
        check_all(pairs, &model.config)?;
        let (chunks, mut logps) = (chunks(pairs, self.micro_tokens), Vec::with_capacity(pairs.len()));
        let work = |chunk: &Chunk<'_>, buffers: &Buffers<F>| {
            let pack = pack(chunk.pairs);
            let pass = Pass::new(model, adapter, &pack, buffers);
            let tokens = pass.target_logps(&pass.run(drop), false);
            responses(&pass.by_sequence(&tokens.logps))
        };
        self.lanes().run(&chunks, work, |part| logps.extend(part))?;
        Ok(logps)
    }

    /// Mean loss and gradient of a batch. The result does not depend on the passes but for rounding: where terms read
    /// other pairs, and the batch takes several passes, all log-probs are computed before.
    ///
    /// # Errors
    /// A pair or an adapter that does not fit the model or the loss, or a number of reference log-probs other than that
    /// of pairs.
    pub fn batch_gradient(
        &self,
        model: &Model<F>,
        adapter: &Adapter<F>,
        pairs: &[TokenPair],
        reference: Reference<'_>,
        loss: &dyn PreferenceLoss,
    ) -> Result<BatchGradient<F>, Error> {
        adapter.check(&model.config)?;
        check_all(pairs, &model.config)?;
        check_loss(pairs, reference.logps, loss)?;
        let chunks = chunks(pairs, self.micro_tokens);
        let known = match loss.scope() {
            Scope::Batch | Scope::Mismatched if chunks.len() > 1 => Some(self.logprobs(model, Some(adapter), pairs)?),
            _ => None,
        };
        let known = known.map(|policy| pair_logps(pairs, &policy, reference.logps));
        let batch = Batch { loss, pairs, reference, known };
        let work = |chunk: &Chunk<'_>, buffers: &Buffers<F>| {
            let pack = pack(chunk.pairs);
            let pending = Pending::forward(Pass::new(model, Some(adapter), &pack, buffers), self.activations);
            batch.part(chunk, pending, self.zeros(adapter))
        };
        let mut sum = BatchGradient { loss: 0.0, logps: Vec::new(), gradient: self.zeros(adapter) };
        self.lanes().run(&chunks, work, |part| self.give_back(sum.add(part)))?;
        Ok(sum)
    }
}

impl<F: Real> BatchGradient<F> {
    /// Adds a part of the batch, and returns the memory of its gradient.
    fn add(&mut self, part: Self) -> Adapter<F> {
        self.loss += part.loss;
        self.logps.extend(part.logps);
        for (sum, part) in self.gradient.matrices_mut().zip(part.gradient.matrices()) {
            add(&mut sum.data, &part.data);
        }
        part.gradient
    }
}

/// A batch, as its parts read it.
struct Batch<'a> {
    loss: &'a dyn PreferenceLoss,
    pairs: &'a [TokenPair],
    reference: Reference<'a>,
    /// All log-probs, where they were computed before.
    known: Option<Vec<PairLogps>>,
}

impl Batch<'_> {
    /// A chunk's share of the loss, and of the gradient, which is written over `zeros`.
    fn part<F: Real>(&self, chunk: &Chunk<'_>, pending: Pending<'_, F>, zeros: Adapter<F>) -> BatchGradient<F> {
        let logps = responses(&pending.logps);
        let range = chunk.first..chunk.first + logps.len();
        let own = pair_logps(chunk.pairs, &logps, &self.reference.logps[range]);
        let (pairs, first) = self.known.as_ref().map_or((&own, 0), |known| (known, chunk.first));
        let terms = BatchLogps { pairs, totals: Totals::of(self.pairs), mismatched: self.reference.mismatched };
        let weight = 1.0 / self.pairs.len() as f64;
        let mut part = BatchGradient { loss: 0.0, logps, gradient: zeros };
        let mut coefficients = Vec::with_capacity(pending.logps.len());
        for at in first..first + part.logps.len() {
            let term = self.loss.term(at, &terms);
            part.loss += weight * term.loss;
            coefficients.extend([weight * term.d_chosen, weight * term.d_rejected]);
        }
        pending.backward(&coefficients, &mut part.gradient);
        part
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

/// Consecutive pairs of a batch, which one pass computes.
struct Chunk<'a> {
    first: usize,
    pairs: &'a [TokenPair],
}

/// Pairs of at most `tokens` packed tokens together, or one that has more.
fn chunks(pairs: &[TokenPair], tokens: usize) -> Vec<Chunk<'_>> {
    let (mut chunks, mut first) = (Vec::new(), 0);
    while first < pairs.len() {
        let mut sum = 0_usize;
        let rest = &pairs[first..];
        let beyond = rest.iter().position(|pair| {
            sum = sum.saturating_add(pair.packed_tokens());
            sum > tokens
        });
        let count = beyond.map_or(rest.len(), |beyond| beyond.max(1));
        chunks.push(Chunk { first, pairs: &rest[..count] });
        first += count;
    }
    chunks
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
            chunks(&pairs, tokens).iter().map(|chunk| chunk.pairs.len()).collect::<Vec<_>>()
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
