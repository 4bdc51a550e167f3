//! Passes: a batch computed as many pairs at a time as fit a number of tokens, by all threads.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backward::Pending;
use crate::buffers::Buffers;
use crate::error::Error;
use crate::forward::Pass;
use crate::gradient::{Batch, BatchGradient, Reference, ResponseLogps, Scored, responses};
use crate::lanes::Lanes;
use crate::lora::Adapter;
use crate::loss::PreferenceLoss;
use crate::model::Model;
use crate::ops::vector::add;
use crate::pack::Pack;
use crate::pair::{TokenPair, check_all};
use crate::real::Real;
use crate::settings::{Activations, MICRO_TOKENS};

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

    /// A gradient of zeros, in memory that was given back where there is some.
    fn zeros(&self, adapter: &Adapter<F>) -> Adapter<F> {
        let spare = self.spare().pop().filter(|spare| spare.has_shape_of(adapter));
        let Some(mut gradient) = spare else { return adapter.zeros_like() };
        gradient.matrices_mut().for_each(|matrix| matrix.data.fill(F::ZERO));
        gradient
    }
}

impl<F: Real> Passes<F> {
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
        let work = |range: &Range<usize>, buffers: &Buffers<F>| {
            let pack = pack(&pairs[range.clone()]);
            let pass = Pass::new(model, adapter, &pack, buffers);
            let tokens = pass.target_logps(&pass.run(drop), false);
            responses(&pass.by_sequence(&tokens.logps))
        };
        self.lanes().run(&chunks, work, |part| logps.extend(part))?;
        Ok(logps)
    }

    /// Mean loss and gradient of a batch.
    ///
    /// # Errors
    /// A pair or an adapter that does not fit the model or the loss, or a number of reference log-probs other than that of
    /// pairs.
    pub fn batch_gradient(
        &self,
        model: &Model<F>,
        adapter: &Adapter<F>,
        pairs: &[TokenPair],
        reference: Reference<'_>,
        loss: &dyn PreferenceLoss,
    ) -> Result<BatchGradient<F>, Error> {
        let (batch, mut gradient) = (Batch::new(loss, pairs, reference)?, adapter.zeros_like());
        let Scored { loss, logps } = self.add_gradient((model, adapter), &batch, 0..pairs.len(), &mut gradient)?;
        Ok(BatchGradient { loss, logps, gradient })
    }

    /// The share of some pairs in a batch's loss, and in its gradient, to which it is added. It does not depend on the passes
    /// but for rounding: where terms read other pairs, and the batch is cut, all log-probs are computed before.
    ///
    /// # Errors
    /// A pair or an adapter that does not fit the model.
    pub fn add_gradient(
        &self,
        (model, adapter): (&Model<F>, &Adapter<F>),
        batch: &Batch<'_>,
        share: Range<usize>,
        gradient: &mut Adapter<F>,
    ) -> Result<Scored, Error> {
        adapter.check(&model.config)?;
        check_all(batch.pairs, &model.config)?;
        let chunks = chunks_of(batch.pairs, share, self.micro_tokens);
        let policy = match batch.needs_all(&chunks) {
            true => Some(self.logprobs(model, Some(adapter), batch.pairs)?),
            false => None,
        };
        let batch = policy.as_deref().map_or(*batch, |policy| batch.known(policy));
        let work = |range: &Range<usize>, buffers: &Buffers<F>| {
            let pack = pack(&batch.pairs[range.clone()]);
            let pending = Pending::forward(Pass::new(model, Some(adapter), &pack, buffers), self.activations);
            let ((scored, coefficients), mut part) = (batch.terms(range, &pending.logps), self.zeros(adapter));
            pending.backward(&coefficients, &mut part);
            (scored, part)
        };
        let mut scored = Scored::default();
        self.lanes().run(&chunks, work, |(part, slope)| {
            scored.add(part);
            for (sum, part) in gradient.matrices_mut().zip(slope.matrices()) {
                add(&mut sum.data, &part.data);
            }
            self.spare().push(slope);
        })?;
        Ok(scored)
    }

    /// Bytes of memory asked of the system for working in so far.
    pub fn asked(&self) -> usize {
        self.lanes().asked()
    }
}

/// As [`chunks`], of some pairs of a batch.
pub(crate) fn chunks_of(pairs: &[TokenPair], share: Range<usize>, tokens: usize) -> Vec<Range<usize>> {
    let first = share.start;
    let chunks = chunks(&pairs[share], tokens).into_iter();
    chunks.map(|range| first + range.start..first + range.end).collect()
}

/// Cuts a batch into ranges of pairs that have at most `tokens` packed tokens together, or of one that has more.
pub(crate) fn chunks(pairs: &[TokenPair], tokens: usize) -> Vec<Range<usize>> {
    let (mut chunks, mut first) = (Vec::new(), 0);
    while first < pairs.len() {
        let mut sum = 0_usize;
        let rest = &pairs[first..];
        let beyond = rest.iter().position(|pair| {
            sum = sum.saturating_add(pair.packed_tokens());
            sum > tokens
        });
        let count = beyond.map_or(rest.len(), |beyond| beyond.max(1));
        chunks.push(first..first + count);
        first += count;
    }
    chunks
}

pub(crate) fn pack(pairs: &[TokenPair]) -> Pack {
    let mut pack = Pack::default();
    for pair in pairs {
        pack.push(&pair.prompt, &[&pair.chosen, &pair.rejected]);
    }
    pack
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
            chunks(&pairs, tokens).iter().map(Range::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[4, 6, 5, 12, 3, 3, 4], 10), [2, 1, 1, 3]);
        assert_eq!(lengths(&[12, 4], 10), [1, 1]);
        assert_eq!(lengths(&[4, 4], usize::MAX), [2]);
        assert_eq!(lengths(&[], 10), [] as [usize; 0]);
    }
}
