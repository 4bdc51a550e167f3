//! RMSNorm: y = g ⊙ x / rms(x), with rms(x) = √(mean(x²) + ε), row by row.

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::vector::{dot, dot3, vectorised};
use crate::buffers::{Buffer, Buffers};
use crate::real::Real;

/// y `[rows, n]` from x `[rows, n]` and the gain g `[n]`.
pub fn forward<F: Real>(x: &[F], gain: &[F], eps: f64, buffers: &Buffers<F>) -> Buffer<F> {
    let n = gain.len();
    let mut y = buffers.take(x.len() / n, n);
    let task = n * ROWS_PER_TASK;
    y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                    let inverse = inverse_rms(x, eps);
                    for ((y, x), g) in y.iter_mut().zip(x).zip(gain) {
                        *y = *x * inverse * *g;
                    }
                }
            },
        );
    });
    y
}

/// dx += ∂L/∂x: with r = 1/rms(x) and w = g ⊙ dy, dx = r w − x r³ mean(w ⊙ x). The gain is frozen.
pub fn backward<F: Real>(dy: &[F], x: &[F], gain: &[F], eps: f64, dx: &mut [F]) {
    let n = gain.len();
    let task = n * ROWS_PER_TASK;
    dx.par_chunks_mut(task).zip(dy.par_chunks(task)).zip(x.par_chunks(task)).for_each(|((dx, dy), x)| {
        vectorised(
            #[inline(always)]
            || {
                for ((dx, dy), x) in dx.chunks_exact_mut(n).zip(dy.chunks_exact(n)).zip(x.chunks_exact(n)) {
                    let inverse = inverse_rms(x, eps);
                    let along = dot3(dy, gain, x) * inverse * inverse * inverse / F::from_f64(n as f64);
                    for (((dx, dy), g), x) in dx.iter_mut().zip(dy).zip(gain).zip(x) {
                        *dx += *dy * *g * inverse - *x * along;
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn inverse_rms<F: Real>(x: &[F], eps: f64) -> F {
    let mean = dot(x, x) / F::from_f64(x.len() as f64);
    F::ONE / (mean + F::from_f64(eps)).sqrt()
}
