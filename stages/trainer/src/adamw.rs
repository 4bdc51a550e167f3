//! AdamW (arXiv 1711.05101), as PyTorch computes it:
//! θ ← θ(1 − lr·λ); m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − lr·m̂ / (√v̂ + ε),
//! with m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ).

use crate::lora::Adapter;
use crate::model::Matrix;
use crate::ops::vector::{dot, vectorised};
use crate::real::Real;

/// The constants of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub eps: f64,
    /// λ.
    pub weight_decay: f64,
}

/// The running moments, in the adapter's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments<F> {
    /// m.
    pub first: Adapter<F>,
    /// v.
    pub second: Adapter<F>,
}

impl<F: Real> Moments<F> {
    /// Both zero, as before the first step.
    pub fn zeros(adapter: &Adapter<F>) -> Self {
        Self { first: adapter.zeros_like(), second: adapter.zeros_like() }
    }
}

impl AdamW {
    /// One update, the `step`-th, counted from 1.
    pub fn update<F: Real>(
        &self,
        adapter: &mut Adapter<F>,
        gradient: &Adapter<F>,
        moments: &mut Moments<F>,
        step: u64,
        lr: f64,
    ) {
        let state = moments.first.matrices_mut().zip(moments.second.matrices_mut());
        for ((matrix, gradient), (m, v)) in adapter.matrices_mut().zip(gradient.matrices()).zip(state) {
            self.update_matrix(matrix, gradient, m, v, step, lr);
        }
    }

    fn update_matrix<F: Real>(
        &self,
        matrix: &mut Matrix<F>,
        gradient: &Matrix<F>,
        m: &mut Matrix<F>,
        v: &mut Matrix<F>,
        step: u64,
        lr: f64,
    ) {
        let decay = F::from_f64(1.0 - lr * self.weight_decay);
        let [beta1, rest1] = [self.beta1, 1.0 - self.beta1].map(F::from_f64);
        let [beta2, rest2] = [self.beta2, 1.0 - self.beta2].map(F::from_f64);
        let t = step as f64;
        let rate = F::from_f64(lr / (1.0 - self.beta1.powf(t)));
        let correction = F::from_f64((1.0 - self.beta2.powf(t)).sqrt());
        let eps = F::from_f64(self.eps);
        vectorised(
            #[inline(always)]
            || {
                let state = m.data.iter_mut().zip(&mut v.data);
                for ((x, g), (m, v)) in matrix.data.iter_mut().zip(&gradient.data).zip(state) {
                    *m = beta1 * *m + rest1 * *g;
                    *v = beta2 * *v + rest2 * *g * *g;
                    *x = *x * decay - rate * *m / (v.sqrt() / correction + eps);
                }
            },
        );
    }
}

/// The Euclidean norm of all gradients together.
pub fn global_norm<F: Real>(gradient: &Adapter<F>) -> f64 {
    let squares = gradient.matrices().map(|matrix| {
        vectorised(
            #[inline(always)]
            || dot(&matrix.data, &matrix.data),
        )
        .to_f64()
    });
    squares.sum::<f64>().sqrt()
}

/// Shrinks gradients whose norm exceeds `most` to that norm, as PyTorch does; 0 leaves them.
pub fn clip<F: Real>(gradient: &mut Adapter<F>, norm: f64, most: f64) {
    if most <= 0.0 || norm <= most {
        return;
    }
    let factor = F::from_f64(most / (norm + 1e-6));
    for matrix in gradient.matrices_mut() {
        matrix.data.iter_mut().for_each(|value| *value *= factor);
    }
}
