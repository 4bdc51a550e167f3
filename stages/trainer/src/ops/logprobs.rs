//! Log-probabilities of response tokens, over chunks of the vocabulary.
//!
//! For a position with final hidden state h and target t: logits z = W h, log p = z_t − ln Σ exp(z). The head is
//! frozen, so ∂log p/∂h = W_t − Σ_v softmax(z)_v W_v. Both come from one pass over chunks of W with the running
//! maximum and sum of the online softmax; the gradient is per unit of ∂L/∂log p and is scaled when the loss is
//! known. The logits of one chunk are the only ones in memory.

use rayon::prelude::*;

use super::product::{Threads::Pool, View, ViewMut, Write, multiply};
use super::vector::{exponentiate, maximum, multiply_by, vectorised};
use crate::buffers::{Buffer, Buffers};
use crate::real::Real;
use crate::weight::Weight;

/// Rows of the head that are multiplied at once.
pub const VOCAB_CHUNK: usize = 2_048;

/// Log-probabilities of targets and, where wanted, their gradients.
#[derive(Debug)]
pub struct TokenLogps<F> {
    /// log p of every target, `[n]`.
    pub logps: Vec<F>,
    /// ∂log p/∂h of every target, `[n, hidden]`; empty where not wanted.
    pub gradient: Buffer<F>,
}

/// The running state of one position's softmax.
#[derive(Clone, Copy)]
struct Online<F> {
    greatest: F,
    sum: F,
    target: F,
}

/// log p of `targets[i]` given the hidden state in row i of `hidden` `[n, hidden]`.
pub fn token_logps<F: Real>(
    hidden: &[F],
    head: &Weight<F>,
    targets: &[u32],
    chunk: usize,
    with_gradient: bool,
    buffers: &Buffers<F>,
) -> TokenLogps<F> {
    let (n, width) = (targets.len(), head.cols());
    let mut online = vec![Online { greatest: F::NEG_INFINITY, sum: F::ZERO, target: F::ZERO }; n];
    let mut expected = buffers.zeros(if with_gradient { n } else { 0 }, width);
    let mut logits = buffers.take(n, chunk.min(head.rows()));
    for first in (0..head.rows()).step_by(chunk) {
        let count = chunk.min(head.rows() - first);
        let weight = head.take(first..first + count, buffers);
        let weight = View::new(&weight, count, width);
        let logits = &mut logits[..n * count];
        multiply(ViewMut::new(logits, n, count), Write::Replace, F::ONE, View::new(hidden, n, width), weight.t(), Pool);
        let rescales = absorb(logits, count, first, targets, &mut online);
        if with_gradient {
            rescale(&mut expected, width, &rescales);
            let weights = View::new(logits, n, count);
            multiply(ViewMut::new(&mut expected, n, width), Write::Add, F::ONE, weights, weight, Pool);
        }
    }
    finish(&mut expected, head, targets, &online, buffers);
    let logp = |state: &Online<F>| state.target - state.greatest - F::from_f64(state.sum.to_f64().ln());
    TokenLogps { logps: online.iter().map(logp).collect(), gradient: expected }
}

/// Takes a chunk of logits into the running softmax and replaces it by exp(z − greatest). Returns the factor by
/// which each position's earlier sums shrink.
fn absorb<F: Real>(logits: &mut [F], count: usize, first: usize, targets: &[u32], online: &mut [Online<F>]) -> Vec<F> {
    let rows = logits.par_chunks_exact_mut(count).zip(online.par_iter_mut()).zip(targets.par_iter());
    rows.map(|((row, state), target)| {
        if let Some(logit) = (*target as usize).checked_sub(first).and_then(|at| row.get(at)) {
            state.target = *logit;
        }
        vectorised(
            #[inline(always)]
            || {
                let greatest = maximum(row).greater(state.greatest);
                let shrink = (state.greatest - greatest).exp();
                state.sum = state.sum * shrink + exponentiate(row, greatest);
                state.greatest = greatest;
                shrink
            },
        )
    })
    .collect()
}

fn rescale<F: Real>(expected: &mut [F], width: usize, factors: &[F]) {
    expected.par_chunks_exact_mut(width).zip(factors).for_each(|(row, factor)| {
        vectorised(
            #[inline(always)]
            || multiply_by(row, *factor),
        );
    });
}

/// From Σ exp(z − greatest) W to W_t − Σ softmax W.
fn finish<F: Real>(expected: &mut [F], head: &Weight<F>, targets: &[u32], online: &[Online<F>], buffers: &Buffers<F>) {
    expected.par_chunks_exact_mut(head.cols()).zip(targets).zip(online).for_each(|((row, target), state)| {
        let at = *target as usize;
        let weight = head.take(at..at + 1, buffers);
        let inverse = F::ONE / state.sum;
        vectorised(
            #[inline(always)]
            || {
                for (value, w) in row.iter_mut().zip(&*weight) {
                    *value = *w - *value * inverse;
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Matrix;

    #[test]
    fn chunks_do_not_change_the_result() {
        let wave = |n: usize, k: f64| (0..n).map(|i| (i as f64 * k).sin() * 3.0).collect::<Vec<_>>();
        let weights = wave(115, 1.7);
        let head = Weight::Full(Matrix { rows: 23, cols: 5, data: weights.clone() });
        let (hidden, targets) = (wave(15, 0.9), [0, 22, 7]);
        let buffers = Buffers::default();
        let whole = token_logps(&hidden, &head, &targets, 100, true, &buffers);
        let logits = |i: usize, v: usize| (0..5).map(|j| hidden[i * 5 + j] * weights[v * 5 + j]).sum::<f64>();
        for (i, target) in targets.iter().enumerate() {
            let sum: f64 = (0..23).map(|v| logits(i, v).exp()).sum();
            assert!((whole.logps[i] - logits(i, *target as usize) + sum.ln()).abs() < 1e-12);
        }
        for chunk in [1, 7, 23] {
            let parts = token_logps(&hidden, &head, &targets, chunk, true, &buffers);
            let pairs = whole.logps.iter().chain(&*whole.gradient).zip(parts.logps.iter().chain(&*parts.gradient));
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }
}
