//! SwiGLU: h = silu(g) ⊙ u, with silu(g) = g σ(g) and σ(g) = 1/(1 + e^−g). All are `[rows, ffn]`.

use rayon::prelude::*;

use super::vector::vectorised;
use crate::buffers::{Buffer, Buffers};
use crate::real::Real;

/// Values that one parallel task takes.
const TASK: usize = 1 << 14;

/// h from gate g and up u, of rows of `ffn` values.
pub fn forward<F: Real>(gate: &[F], up: &[F], ffn: usize, buffers: &Buffers<F>) -> Buffer<F> {
    let mut h = buffers.take(gate.len() / ffn, ffn);
    h.par_chunks_mut(TASK).zip(gate.par_chunks(TASK)).zip(up.par_chunks(TASK)).for_each(|((h, gate), up)| {
        vectorised(
            #[inline(always)]
            || {
                for ((h, g), u) in h.iter_mut().zip(gate).zip(up) {
                    *h = *g * sigmoid(*g) * *u;
                }
            },
        );
    });
    h
}

/// From dh: dg = dh ⊙ u ⊙ σ(g)(1 + g(1 − σ(g))) and du = dh ⊙ silu(g), written over g and u.
pub fn backward<F: Real>(dh: &[F], gate: &mut [F], up: &mut [F]) {
    gate.par_chunks_mut(TASK).zip(up.par_chunks_mut(TASK)).zip(dh.par_chunks(TASK)).for_each(|((gate, up), dh)| {
        vectorised(
            #[inline(always)]
            || {
                for ((g, u), dh) in gate.iter_mut().zip(up).zip(dh) {
                    let sigma = sigmoid(*g);
                    let silu = *g * sigma;
                    (*g, *u) = (*dh * *u * (sigma + silu * (F::ONE - sigma)), *dh * silu);
                }
            },
        );
    });
}

#[inline(always)]
fn sigmoid<F: Real>(x: F) -> F {
    F::ONE / (F::ONE + (-x).exp())
}
