//! Attention of one new token per sequence over its prompt and what it has written since.
//!
//! The samples of a prompt go through its keys and values together: each is read once for all of them and for all the
//! query heads of its group.

use rayon::prelude::*;

use super::cache::{HeadCache, Prefix};
use super::queue::Running;
use crate::config::Config;
use crate::ops::vector::{dot, exponentiate, maximum, vectorised};

/// The heads' outputs `[rows, heads·d]` from rotated queries `[rows, heads·d]`; row i is sequence i's new token, whose
/// keys and values its cache already holds.
pub(super) fn attend(config: &Config, layer: usize, q: &[f32], running: &[Running]) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    let width = config.heads * config.head_dim;
    let mut tasks = Vec::new();
    let (mut q_left, mut out_left) = (q, out.as_mut_slice());
    for samples in running.chunk_by(|a, b| a.job == b.job) {
        let (q, q_rest) = q_left.split_at(samples.len() * width);
        let (out, out_rest) = std::mem::take(&mut out_left).split_at_mut(samples.len() * width);
        tasks.extend(tasks_of(config, layer, q, out, samples));
        (q_left, out_left) = (q_rest, out_rest);
    }
    tasks.into_par_iter().for_each(|task| vectorised(|| task.run()));
    out
}

/// One key head for all the samples of a prompt.
struct Task<'a> {
    d: usize,
    prefix_k: &'a [f32],
    prefix_v: &'a [f32],
    samples: Vec<Sample<'a>>,
}

/// What one sample asks of one key head.
struct Sample<'a> {
    /// `[group][d]`.
    q: &'a [f32],
    /// `[group][d]`.
    out: &'a mut [f32],
    own: &'a HeadCache,
}

fn tasks_of<'a>(
    config: &Config,
    layer: usize,
    q: &'a [f32],
    out: &'a mut [f32],
    samples: &'a [Running],
) -> Vec<Task<'a>> {
    let (d, kv_heads) = (config.head_dim, config.kv_heads);
    let group = config.heads / kv_heads * d;
    let Some(first) = samples.first() else { return Vec::new() };
    let prefix: &'a Prefix = &first.prefix;
    let (cache, size) = (&prefix.layers[layer], prefix.tokens * d);
    let mut tasks: Vec<Task<'a>> = (cache.k.chunks_exact(size).zip(cache.v.chunks_exact(size)))
        .map(|(prefix_k, prefix_v)| Task { d, prefix_k, prefix_v, samples: Vec::with_capacity(samples.len()) })
        .collect();
    let parts = q.chunks_exact(group).zip(out.chunks_exact_mut(group));
    for (index, (q, out)) in parts.enumerate() {
        let (sample, head) = (index / kv_heads, index % kv_heads);
        tasks[head].samples.push(Sample { q, out, own: samples[sample].suffix.head(layer, head) });
    }
    tasks
}

impl Task<'_> {
    #[inline(always)]
    fn run(self) {
        let (d, shared) = (self.d, self.prefix_k.len() / self.d);
        let scale = 1.0 / (d as f32).sqrt();
        let mut heads: Vec<(&[f32], &mut [f32], &HeadCache, Vec<f32>)> = Vec::new();
        for sample in self.samples {
            let tokens = shared + sample.own.k.len() / d;
            for (q, out) in sample.q.chunks_exact(d).zip(sample.out.chunks_exact_mut(d)) {
                heads.push((q, out, sample.own, vec![0.0; tokens]));
            }
        }
        for (position, k) in self.prefix_k.chunks_exact(d).enumerate() {
            for (q, _, _, scores) in &mut heads {
                scores[position] = scale * dot(q, k);
            }
        }
        for (q, _, own, scores) in &mut heads {
            for (score, k) in scores[shared..].iter_mut().zip(own.k.chunks_exact(d)) {
                *score = scale * dot(q, k);
            }
            let greatest = maximum(scores);
            let inverse = 1.0 / exponentiate(scores, greatest);
            scores.iter_mut().for_each(|p| *p *= inverse);
        }
        for (position, v) in self.prefix_v.chunks_exact(d).enumerate() {
            for (_, out, _, p) in &mut heads {
                add_scaled(out, p[position], v);
            }
        }
        for (_, out, own, p) in &mut heads {
            for (p, v) in p[shared..].iter().zip(own.v.chunks_exact(d)) {
                add_scaled(out, *p, v);
            }
        }
    }
}

/// y += a x.
#[inline(always)]
pub(super) fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}
