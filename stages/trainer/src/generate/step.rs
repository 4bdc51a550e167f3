//! The forward pass for generating: prompts at once, then one token of every running sequence.

use rayon::prelude::*;

use super::attend::attend;
use super::cache::{LayerCache, Prefix, Suffix};
use super::product::{product, transpose};
use super::queue::Running;
use crate::buffers::Buffers;
use crate::config::Config;
use crate::lora::{Adapter, LowRank};
use crate::model::{Matrix, Model};
use crate::ops::attention::{Attention, Qkv};
use crate::ops::rope::{RotaryTable, Turn};
use crate::ops::vector::{add, add_weighted, vectorised};
use crate::ops::{heads, rmsnorm, swiglu};
use crate::pack::Pack;
use crate::projection::Projection;

/// An adapter's share of one projection, laid out for few rows.
struct LowRankRows<'a> {
    a: &'a Matrix<f32>,
    /// Bᵀ times alpha/r, `[r, out]`.
    b_rows: Vec<f32>,
}

/// A model ready to generate.
pub(super) struct Decoder<'a> {
    model: &'a Model,
    /// By layer and projection; empty without an adapter.
    low: Vec<[Option<LowRankRows<'a>>; 7]>,
    rotary: RotaryTable<f32>,
    buffers: Buffers<f32>,
}

impl<'a> Decoder<'a> {
    /// `positions` is the length of the longest sequence.
    pub(super) fn new(model: &'a Model, adapter: Option<&'a Adapter>, positions: usize) -> Self {
        let (low, buffers) = (adapter.map_or_else(Vec::new, low_rank_rows), Buffers::default());
        Self { model, low, rotary: RotaryTable::new(&model.config, positions, &buffers), buffers }
    }

    /// The cache of a sample that has written nothing.
    pub(super) fn empty_suffix(&self) -> Suffix {
        Suffix::new(&self.model.config)
    }

    /// Each prompt's keys and values, and the logits `[vocab]` of the token after it. All are read together.
    pub(super) fn read(&self, prompts: &[&[u32]]) -> Vec<(Prefix, Vec<f32>)> {
        if prompts.is_empty() {
            return Vec::new();
        }
        let mut pack = Pack::default();
        prompts.iter().for_each(|prompt| pack.push_text(prompt));
        let mut prefixes: Vec<Prefix> =
            prompts.iter().map(|prompt| Prefix { tokens: prompt.len(), layers: Vec::new() }).collect();
        let mut x = self.embed(pack.tokens.iter().copied());
        for index in 0..self.model.layers.len() {
            let (qkv, mut attended) = self.read_attention(index, &x, &pack);
            self.share(&qkv, &pack, &mut prefixes);
            if index + 1 == self.model.layers.len() {
                // Nothing reads the last block's output but the logits after each prompt.
                (x, attended) = (last_rows(&x, &pack), last_rows(&attended, &pack));
            }
            add(&mut x, &self.linear(index, Projection::O, &attended));
            self.feed_forward(index, &mut x);
        }
        let logits = self.logits(&x);
        let logits = logits.chunks_exact(self.model.config.vocab_size).map(<[f32]>::to_vec);
        prefixes.into_iter().zip(logits).collect()
    }

    /// Gives every prompt its own share of a layer's keys and values.
    fn share(&self, qkv: &Qkv<f32>, pack: &Pack, prefixes: &mut [Prefix]) {
        let Config { kv_heads, head_dim, .. } = self.model.config;
        let width = kv_heads * head_dim;
        prefixes.par_iter_mut().zip(&pack.documents).for_each(|(prefix, document)| {
            let [k, v] = [&qkv.k, &qkv.v].map(|values| &values[document.start * width..][..document.rows() * width]);
            prefix.layers.push(LayerCache::new(k, v, document.rows(), head_dim));
        });
    }

    /// Queries, keys and values of all prompts by heads (see [`heads`]), and the attention's output `[rows, heads·d]`.
    fn read_attention(&self, index: usize, x: &[f32], pack: &Pack) -> (Qkv<f32>, Vec<f32>) {
        let Config { heads, kv_heads, head_dim, norm_eps, .. } = self.model.config;
        let normed = rmsnorm::forward(x, &self.model.layers[index].attn_norm, norm_eps, &self.buffers);
        let split = |projection, rotary| {
            heads::split(&self.linear(index, projection, &normed), pack, head_dim, rotary, &self.buffers)
        };
        let rotary = Some(&self.rotary);
        let qkv =
            Qkv { q: split(Projection::Q, rotary), k: split(Projection::K, rotary), v: split(Projection::V, None) };
        let attended = Attention { heads, kv_heads, head_dim }.forward(&qkv, pack, &self.buffers);
        let attended = heads::merge(&attended.out, pack, head_dim, None, &self.buffers);
        (qkv, attended.to_vec())
    }

    /// The logits `[running, vocab]` after the last token of every sequence, whose keys and values are added to its cache.
    pub(super) fn step(&self, running: &mut [Running]) -> Vec<f32> {
        let mut x = self.embed(running.iter().map(Running::last));
        for layer in 0..self.model.layers.len() {
            self.block(layer, &mut x, running);
        }
        self.logits(&x)
    }

    fn embed(&self, tokens: impl Iterator<Item = u32>) -> Vec<f32> {
        let embed = &self.model.embed;
        let mut x = Vec::new();
        for token in tokens {
            let start = x.len();
            x.resize(start + embed.cols(), 0.0);
            embed.read(token as usize, &mut x[start..]);
        }
        x
    }

    fn block(&self, index: usize, x: &mut [f32], running: &mut [Running]) {
        let (config, layer) = (&self.model.config, &self.model.layers[index]);
        let apply = |projection, x: &[f32]| self.linear(index, projection, x);
        let normed = rmsnorm::forward(x, &layer.attn_norm, config.norm_eps, &self.buffers);
        let [mut q, mut k, v] =
            [Projection::Q, Projection::K, Projection::V].map(|projection| apply(projection, &normed));
        self.rotate(&mut q, running);
        self.rotate(&mut k, running);
        let width = config.kv_heads * config.head_dim;
        for ((sequence, k), v) in running.iter_mut().zip(k.chunks_exact(width)).zip(v.chunks_exact(width)) {
            sequence.suffix.push(index, k, v);
        }
        add(x, &apply(Projection::O, &attend(config, index, &q, running)));
        self.feed_forward(index, x);
    }

    fn feed_forward(&self, index: usize, x: &mut [f32]) {
        let (config, buffers) = (&self.model.config, &self.buffers);
        let normed = rmsnorm::forward(x, &self.model.layers[index].ffn_norm, config.norm_eps, buffers);
        let [gate, up] = [Projection::Gate, Projection::Up].map(|projection| self.linear(index, projection, &normed));
        add(x, &self.linear(index, Projection::Down, &swiglu::forward(&gate, &up, config.ffn, buffers)));
    }

    /// y = x Wᵀ + b + c·(x Aᵀ) Bᵀ, row by row.
    fn linear(&self, layer: usize, projection: Projection, x: &[f32]) -> Vec<f32> {
        let weights = &self.model.layers[layer];
        let weight = weights.weight(projection);
        let mut y = product(x, weight.into());
        if let Some(bias) = weights.bias(projection) {
            y.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
        }
        let low = self.low.get(layer).and_then(|block| block[projection.index()].as_ref());
        let Some(low) = low else { return y };
        let s = product(x, low.a.into());
        vectorised(
            #[inline(always)]
            || {
                for (y, s) in y.chunks_exact_mut(weight.rows()).zip(s.chunks_exact(low.a.rows)) {
                    add_weighted(y, s, &low.b_rows);
                }
            },
        );
        y
    }

    /// Turns every head of every row by its sequence's position.
    fn rotate(&self, x: &mut [f32], running: &[Running]) {
        let (d, width) = (self.model.config.head_dim, x.len() / running.len());
        for (row, sequence) in x.chunks_exact_mut(width).zip(running) {
            let heads = row.chunks_exact_mut(d);
            heads.for_each(|head| self.rotary.rotate(head, sequence.position(), Turn::Forward));
        }
    }

    fn logits(&self, x: &[f32]) -> Vec<f32> {
        let (config, buffers) = (&self.model.config, &self.buffers);
        product(&rmsnorm::forward(x, &self.model.final_norm, config.norm_eps, buffers), self.model.head().into())
    }
}

/// The last row of every document.
fn last_rows(x: &[f32], pack: &Pack) -> Vec<f32> {
    let width = x.len() / pack.tokens.len();
    let ends = pack.documents.iter().map(|document| document.start + document.rows());
    ends.flat_map(|end| &x[(end - 1) * width..][..width]).copied().collect()
}

fn low_rank_rows(adapter: &Adapter) -> Vec<[Option<LowRankRows<'_>>; 7]> {
    let scale: f32 = adapter.scale();
    let rows = |low| LowRankRows::new(low, scale);
    adapter.layers.iter().map(|block| block.each_ref().map(|low| low.as_ref().map(rows))).collect()
}

impl<'a> LowRankRows<'a> {
    fn new(low: &'a LowRank<f32>, scale: f32) -> Self {
        let mut b_rows = transpose(&low.b.data, low.b.rows, low.b.cols);
        b_rows.iter_mut().for_each(|value| *value *= scale);
        Self { a: &low.a, b_rows }
    }
}
