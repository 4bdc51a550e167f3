//! Attention of one new token per sequence over its prompt and what it has written since.
//!
//! The samples of a prompt go through its keys and values together, a block at a time: each is read once for all of them
//! and for all the query heads of its group.

use rayon::prelude::*;

use super::cache::{BLOCK, HeadCache, Prefix};
use super::queue::Running;
use crate::config::Config;
use crate::ops::vector::{add_weighted, dot, exponentiate, maximum, multiply_by, vectorised};

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
    tasks.into_par_iter().for_each(|task| {
        vectorised(
            #[inline(always)]
            || task.run(),
        )
    });
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

/// One query head of one sample.
struct Query<'a> {
    q: &'a [f32],
    out: &'a mut [f32],
    own: &'a HeadCache,
    /// Scores, then probabilities: of the prompt's positions, then of the sample's own.
    p: Vec<f32>,
}

impl<'a> Task<'a> {
    #[inline(always)]
    fn run(self) {
        let (d, shared) = (self.d, self.prefix_k.len() / self.d);
        let scale = 1.0 / (d as f32).sqrt();
        let (prefix_k, prefix_v) = (self.prefix_k, self.prefix_v);
        let mut queries = self.queries();
        for (block, k) in prefix_k.chunks(BLOCK * d).enumerate() {
            let tokens = k.len() / d;
            for query in &mut queries {
                add_weighted(&mut query.p[block * BLOCK..][..tokens], query.q, k);
            }
        }
        for Query { q, own, p, .. } in &mut queries {
            for (score, k) in p[shared..].iter_mut().zip(own.k.chunks_exact(d)) {
                *score = dot(q, k);
            }
            multiply_by(p, scale);
            let greatest = maximum(p);
            let inverse = 1.0 / exponentiate(p, greatest);
            multiply_by(p, inverse);
        }
        for (block, v) in prefix_v.chunks(BLOCK * d).enumerate() {
            for query in &mut queries {
                add_weighted(query.out, &query.p[block * BLOCK..], v);
            }
        }
        for Query { out, own, p, .. } in queries {
            add_weighted(out, &p[shared..], &own.v);
        }
    }

    fn queries(self) -> Vec<Query<'a>> {
        let (d, shared) = (self.d, self.prefix_k.len() / self.d);
        let of_sample = |Sample { q, out, own }: Sample<'a>| {
            let parts = q.chunks_exact(d).zip(out.chunks_exact_mut(d));
            parts.map(move |(q, out)| Query { q, out, own, p: vec![0.0; shared + own.k.len() / d] })
        };
        self.samples.into_iter().flat_map(of_sample).collect()
    }
}
