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

/// One update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The optimizer.
    pub optimizer: AdamW,
    /// lr.
    pub learning_rate: f64,
    /// t, counted from 1.
    pub number: u64,
}

impl Step {
    /// Updates an adapter and its moments from a gradient.
    pub fn update<F: Real>(&self, adapter: &mut Adapter<F>, gradient: &Adapter<F>, moments: &mut Moments<F>) {
        let state = moments.first.matrices_mut().zip(moments.second.matrices_mut());
        for ((matrix, gradient), (m, v)) in adapter.matrices_mut().zip(gradient.matrices()).zip(state) {
            self.update_matrix(matrix, gradient, m, v);
        }
    }

    fn update_matrix<F: Real>(
        &self,
        matrix: &mut Matrix<F>,
        gradient: &Matrix<F>,
        m: &mut Matrix<F>,
        v: &mut Matrix<F>,
    ) {
        let Self { optimizer: AdamW { beta1, beta2, eps, weight_decay }, learning_rate: lr, number } = *self;
        let decay = F::from_f64(1.0 - lr * weight_decay);
        let t = number as f64;
        let rate = F::from_f64(lr / (1.0 - beta1.powf(t)));
        let correction = F::from_f64((1.0 - beta2.powf(t)).sqrt());
        let [beta1, rest1] = [beta1, 1.0 - beta1].map(F::from_f64);
        let [beta2, rest2] = [beta2, 1.0 - beta2].map(F::from_f64);
        let eps = F::from_f64(eps);
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
