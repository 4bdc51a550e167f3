//! Random weights, quickly: eight thousand million in seconds, by all threads, and never wider than they are kept.

use half::bf16;
use half::vec::HalfBitsVecExt;
use obvert_trainer::Projection::{self, Down, Gate, K, O, Q, Up, V};
use obvert_trainer::random::SplitMix64;
use obvert_trainer::{Config, Layer, Matrix, Model, Weight};
use rayon::prelude::*;

/// Values of one stream of random numbers.
const CHUNK: usize = 1 << 16;

/// A model whose matrices have a variance of 1 / in, so that activations neither grow nor fade, and whose norms do nothing.
pub fn model(config: Config) -> Model {
    let (vocab, hidden) = (config.vocab_size, config.hidden);
    Model {
        embed: weight((vocab, hidden), 0),
        layers: (1..=config.layers as u64).map(|layer| block(&config, 16 * layer)).collect(),
        final_norm: vec![1.0; hidden],
        head: (!config.tied).then(|| weight((vocab, hidden), 1)),
        config,
    }
}

fn block(config: &Config, seed: u64) -> Layer<f32> {
    let matrix = |projection: Projection| weight(projection.shape(config), seed + projection.index() as u64);
    let bias = |projection: Projection| config.qkv_bias.then(|| vec![0.1; projection.shape(config).0]);
    let norm = || vec![1.0; config.hidden];
    let ([q, k, v, o], [gate, up, down]) = ([Q, K, V, O].map(matrix), [Gate, Up, Down].map(matrix));
    let [q_bias, k_bias, v_bias] = [Q, K, V].map(bias);
    Layer { attn_norm: norm(), ffn_norm: norm(), q, k, v, o, gate, up, down, q_bias, k_bias, v_bias }
}

/// Nearly normal numbers: each the sum of four uniform ones of 16 bits, which one draw holds.
fn weight((rows, cols): (usize, usize), seed: u64) -> Weight<f32> {
    let mut values = vec![0_u16; rows * cols];
    // Such a sum deviates by √(4/12) · 2¹⁶.
    let scale = (3.0 / cols as f32).sqrt() / 65_536.0;
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(at, chunk)| {
        let mut random = SplitMix64::stream(seed, at as u64);
        chunk.iter_mut().for_each(|value| *value = bf16::from_f32(scale * sum(random.next_bits())).to_bits());
    });
    Weight::Half(Matrix { rows, cols, data: values.reinterpret_into() })
}

fn sum(bits: u64) -> f32 {
    (0..4).map(|at| i32::from((bits >> (16 * at)) as u16 as i16)).sum::<i32>() as f32
}
