//! AdamW on float masters, and before it the clipping of their gradient by its norm.

use super::{check_len, scratch};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{Float, Int};

/// Sums of squares that a norm is added up from, at most.
pub const PARTIALS: usize = 1024;

/// Values that the kernels can count.
pub const MOST_VALUES: usize = i32::MAX as usize;

const THREADS: usize = 256;
/// Values of a block that does four a thread.
const BLOCK: usize = 4 * THREADS;

/// One update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub eps: f64,
    /// λ.
    pub weight_decay: f64,
    /// lr.
    pub learning_rate: f64,
    /// t, counted from 1.
    pub number: u64,
}

/// Leaves in `clip` `[2]` the norm of a gradient and the factor that shrinks it to `most`; 0 does not shrink. `partial` is
/// working memory for [`PARTIALS`] values.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn clip<F: Stored>(
    device: &Device<F>,
    clip: &mut Array<f32>,
    partial: &mut Array<f32>,
    gradient: &Array<f32>,
    most: f32,
) -> Result<(), Error> {
    let blocks = gradient.len().div_ceil(BLOCK).clamp(1, PARTIALS);
    check_len("clip", clip.len(), 2);
    check_len("partial", partial.len(), blocks);
    let arguments = [partial.whole(), gradient.whole(), count(gradient)];
    device.launch("sum_squares", ([blocks, 1, 1], THREADS, scratch(THREADS)), &arguments)?;
    let arguments = [clip.whole(), partial.whole(), Int(blocks as i32), Float(most)];
    device.launch("clip_factor", ([1, 1, 1], THREADS, scratch(THREADS)), &arguments)
}

/// Updates weights and both moments from a gradient and its `clip`. All stay as they are where the norm is not finite.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn update<F: Stored>(
    device: &Device<F>,
    [weights, first, second]: [&mut Array<f32>; 3],
    gradient: &Array<f32>,
    clip: &Array<f32>,
    step: Step,
) -> Result<(), Error> {
    let n = gradient.len();
    check_len("clip", clip.len(), 2);
    for (what, array) in [("weights", &*weights), ("first moments", &*first), ("second moments", &*second)] {
        check_len(what, array.len(), n);
    }
    let arrays = [weights.whole(), first.whole(), second.whole(), gradient.whole(), clip.whole()];
    let arguments = [&arrays[..], &[count(gradient)], &step.rates().map(|rate| Float(rate as f32))].concat();
    device.launch("adamw", ([n.div_ceil(BLOCK), 1, 1], THREADS, 0), &arguments)
}

impl Step {
    /// In the order of the kernel's parameters; computed in double precision, since 1 − β₂ is small.
    fn rates(&self) -> [f64; 8] {
        let Self { beta1, beta2, eps, weight_decay, learning_rate, number } = *self;
        let t = number as f64;
        let rate = learning_rate / (1.0 - beta1.powf(t));
        let correction = (1.0 - beta2.powf(t)).sqrt();
        [1.0 - learning_rate * weight_decay, beta1, 1.0 - beta1, beta2, 1.0 - beta2, rate, correction, eps]
    }
}

fn count(values: &Array<f32>) -> crate::Argument {
    assert!(values.len() <= MOST_VALUES, "{} values of the adapter", values.len());
    Int(values.len() as i32)
}
