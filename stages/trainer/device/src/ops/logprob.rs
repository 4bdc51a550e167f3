//! Log-probabilities of targets and their gradients by the hidden state, over chunks of the vocabulary.
//!
//! For every chunk: logits = H Wᵀ of its rows of the head W, [`absorb`], expected += weights · W (the first chunk's product
//! overwrites). Then [`finish`].

use std::ops::Range;

use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{Address, Int};

const THREADS: usize = 256;
/// The greatest chunk: a row of its logits lies in shared memory.
pub const CHUNK: usize = 8_192;

/// What a gradient takes: weights exp(z − base) `[n, stride]` of a chunk and their sums `[n, width]` with the head's rows.
#[derive(Debug)]
pub struct Expected<'a, F> {
    /// Of the chunk at hand, stored so that they can be multiplied.
    pub weights: &'a mut Array<F>,
    /// Over the chunks so far.
    pub sums: &'a mut Array<f32>,
}

/// Takes the logits `[n, stride]` of the tokens `chunk` into the state `[3, n]`, which the chunk that begins at 0 begins, and
/// fills the weights. A chunk may be narrower than the stride.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The lengths do not fit, or the stride is no multiple of 8.
pub fn absorb<F: Stored>(
    device: &Device<F>,
    state: &mut Array<f32>,
    expected: Option<Expected<'_, F>>,
    logits: &Array<f32>,
    targets: &Array<i32>,
    chunk: Range<usize>,
) -> Result<(), Error> {
    let (n, count) = (targets.len(), chunk.len());
    let stride = logits.len() / n;
    assert!(stride.is_multiple_of(8) && logits.len() == n * stride, "{} logits of {n} rows, 8 by 8", logits.len());
    assert!(count <= stride && count <= CHUNK, "{count} tokens in rows of {stride}, at most {CHUNK}");
    assert_eq!(state.len(), 3 * n, "state of {n} rows");
    let (weights, sums, width) = match expected {
        None => (Address(0), Address(0), 0),
        Some(Expected { weights, sums }) => {
            assert_eq!(weights.len(), n * stride, "weights of {n} rows of {stride}");
            assert_eq!(sums.len() % n, 0, "{} sums of {n} rows", sums.len());
            (weights.whole(), sums.whole(), sums.len() / n)
        }
    };
    let sizes = [chunk.start, count, stride, width].map(|size| Int(size as i32));
    let arrays = [weights, sums, state.whole(), logits.whole(), targets.whole()];
    let shared = (THREADS / 32 + count.next_multiple_of(4)) * size_of::<f32>();
    device.launch("logprob_absorb", ([n, 1, 1], THREADS, shared), &[&arrays[..], &sizes].concat())
}

/// log p `[n]` of the targets from the state `[3, n]`, and, where wanted, their gradients `[n, width]` from the sums
/// `[n, width]` and the head, whose rows are `stride` apart.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The lengths do not fit.
pub fn finish<F: Stored>(
    device: &Device<F>,
    logps: &mut Array<f32>,
    gradient: Option<(&mut Array<F>, &Array<f32>)>,
    state: &Array<f32>,
    (head, stride): (&Array<F>, usize),
    targets: &Array<i32>,
) -> Result<(), Error> {
    let n = targets.len();
    assert_eq!([logps.len(), state.len()], [n, 3 * n], "log-probabilities and state of {n} rows");
    let (gradient, sums, width) = match gradient {
        None => (Address(0), Address(0), 0),
        Some((gradient, sums)) => {
            let width = sums.len() / n;
            assert_eq!([gradient.len(), sums.len()], [n * width; 2], "gradient and sums of {n} rows");
            assert!(width <= stride, "rows of {width}, {stride} apart");
            (gradient.whole(), sums.whole(), width)
        }
    };
    let arrays = [logps.whole(), gradient, state.whole(), sums, head.whole(), targets.whole()];
    let sizes = [stride, width].map(|size| Int(size as i32));
    device.launch("logprob_finish", ([n, 1, 1], THREADS, 0), &[&arrays[..], &sizes].concat())
}
