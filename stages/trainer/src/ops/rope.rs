//! Rotary position embedding, half-rotation as in Hugging Face: the pair (xᵢ, xᵢ₊d/2) of a head at position p is
//! turned by p·ωᵢ, with ωᵢ = θ^(−2i/d), stretched as Llama 3.1 does where the model asks for it.

use crate::buffers::{Buffer, Buffers};
use crate::config::{Config, Llama3Scaling};
use crate::real::Real;

/// Cosine and sine of every angle up to a position.
#[derive(Debug)]
pub struct RotaryTable<F> {
    half: usize,
    cos: Buffer<F>,
    sin: Buffer<F>,
}

/// Which way a head is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// By +p·ω: the embedding.
    Forward,
    /// By −p·ω: its transpose, hence its backward.
    Backward,
}

impl<F: Real> RotaryTable<F> {
    /// The table for positions 0 to `positions` − 1. Angles are computed in double precision.
    pub fn new(config: &Config, positions: usize, buffers: &Buffers<F>) -> Self {
        let frequencies = frequencies(config);
        let half = frequencies.len();
        let (mut cos, mut sin) = (buffers.take(positions, half), buffers.take(positions, half));
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |w| p as f64 * w));
        for ((angle, cos), sin) in angles.zip(&mut *cos).zip(&mut *sin) {
            (*cos, *sin) = (F::from_f64(angle.cos()), F::from_f64(angle.sin()));
        }
        Self { half, cos, sin }
    }

    /// Turns one head `[d]` at `position`, in place.
    #[inline(always)]
    pub fn rotate(&self, head: &mut [F], position: usize, turn: Turn) {
        let (cos, sin) = (&self.cos[position * self.half..], &self.sin[position * self.half..]);
        let sign = if turn == Turn::Forward { F::ONE } else { -F::ONE };
        let (first, second) = head.split_at_mut(self.half);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let sin = *sin * sign;
            (*a, *b) = (*a * *cos - *b * sin, *b * *cos + *a * sin);
        }
    }
}

/// ωᵢ for i in 0..d/2, in radians per token.
pub fn frequencies(config: &Config) -> Vec<f64> {
    let plain = |i: usize| config.rope_theta.powf(-2.0 * i as f64 / config.head_dim as f64);
    let scale = |w: f64| config.rope_scaling.map_or(w, |scaling| stretch(w, scaling));
    (0..config.head_dim / 2).map(plain).map(scale).collect()
}

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones stay, and between the two the frequency is
/// interpolated linearly in original context / wavelength.
fn stretch(frequency: f64, scaling: Llama3Scaling) -> f64 {
    let turns = scaling.original_max_positions as f64 * frequency / std::f64::consts::TAU;
    let (low, high) = (scaling.low_freq_factor, scaling.high_freq_factor);
    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    frequency * (kept + (1.0 - kept) / scaling.factor)
}
