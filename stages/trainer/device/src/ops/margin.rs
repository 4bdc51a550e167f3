//! From the log-probs of targets to the loss and its slope.

use super::{check_len, scratch};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{Float, Int};

const THREADS: usize = 256;

/// sums `[responses]`: response i has the log-probs at `first[i]` to `first[i + 1]`, of `[responses + 1]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn response_sums<F: Stored>(
    device: &Device<F>,
    sums: &mut Array<f32>,
    logps: &Array<f32>,
    first: &Array<i32>,
    responses: usize,
) -> Result<(), Error> {
    check_len("sums", sums.len(), responses);
    check_len("first", first.len(), responses + 1);
    let arguments = [sums.whole(), logps.whole(), first.whole()];
    device.launch("response_sums", ([responses, 1, 1], THREADS, scratch(THREADS)), &arguments)
}

/// RPO's −log σ(βD − m), with m = `per_gap` · g of the pair's gap g.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// β.
    pub beta: f32,
    /// γ in the paper's convention, βγ in that of its code, 0 for DPO.
    pub per_gap: f32,
    /// Pairs of the update, over all its passes: the loss is the mean of so many terms.
    pub total: usize,
}

/// What is known of pairs.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// Log-probs under the policy `[2 pairs]`: of the chosen and the rejected response in turn.
    pub policy: &'a Array<f32>,
    /// Log-probs under the reference, likewise.
    pub reference: &'a Array<f32>,
    /// g `[pairs]`.
    pub gaps: &'a Array<f32>,
}

/// The pairs' terms `[pairs]`; the derivatives of the mean loss with respect to the log-probs of their responses `[2 pairs]`;
/// the sum of the terms `[1]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn terms<F: Stored>(
    device: &Device<F>,
    [terms, coefficients, sum]: [&mut Array<f32>; 3],
    Pairs { policy, reference, gaps }: Pairs<'_>,
    pairs: usize,
    Margin { beta, per_gap, total }: Margin,
) -> Result<(), Error> {
    check_len("sum", sum.len(), 1);
    for (what, array) in [("terms", &*terms), ("gaps", gaps)] {
        check_len(what, array.len(), pairs);
    }
    for (what, array) in [("coefficients", &*coefficients), ("policy", policy), ("reference", reference)] {
        check_len(what, array.len(), 2 * pairs);
    }
    let results = [terms.whole(), coefficients.whole(), sum.whole()];
    let known = [policy.whole(), reference.whole(), gaps.whole()];
    let counts = [pairs, total].map(|count| Int(count as i32));
    let arguments = [&results[..], &known, &counts, &[Float(beta), Float(per_gap)]].concat();
    device.launch("margin_terms", ([1, 1, 1], THREADS, scratch(THREADS)), &arguments)
}
