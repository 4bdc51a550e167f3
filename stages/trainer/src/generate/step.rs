//! The forward pass for generating: a prompt at once, then one token of every running sequence.

use super::attend::{add_scaled, attend};
use super::cache::{LayerCache, Prefix, Suffix};
use super::product::{product, transpose};
use super::queue::Running;
use crate::forward::Pass;
use crate::lora::{Adapter, LowRank};
use crate::model::{Matrix, Model};
use crate::ops::rope::{RotaryTable, Turn};
use crate::ops::vector::{add, vectorised};
use crate::ops::{rmsnorm, swiglu};
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
    adapter: Option<&'a Adapter>,
    /// By layer and projection; empty without an adapter.
    low: Vec<[Option<LowRankRows<'a>>; 7]>,
    rotary: RotaryTable<f32>,
}

impl<'a> Decoder<'a> {
    /// `positions` is the length of the longest sequence.
    pub(super) fn new(model: &'a Model, adapter: Option<&'a Adapter>, positions: usize) -> Self {
        let low = adapter.map_or_else(Vec::new, low_rank_rows);
        Self { model, adapter, low, rotary: RotaryTable::new(&model.config, positions) }
    }

    /// The cache of a sample that has written nothing.
    pub(super) fn empty_suffix(&self) -> Suffix {
        Suffix::new(&self.model.config)
    }

    /// A prompt's keys and values, and the logits `[vocab]` of the token after it.
    pub(super) fn read(&self, prompt: &[u32]) -> (Prefix, Vec<f32>) {
        let mut pack = Pack::default();
        pack.push_text(prompt);
        let mut layers = Vec::with_capacity(self.model.layers.len());
        let x = Pass::new(self.model, self.adapter, &pack)
            .run(|block| layers.push(LayerCache { k: block.qkv.k, v: block.qkv.v }));
        let last = &x[x.len() - self.model.config.hidden..];
        (Prefix { tokens: prompt.len(), layers }, self.logits(last))
    }

    /// The logits `[running, vocab]` after the last token of every sequence, whose keys and values are added to its cache.
    pub(super) fn step(&self, running: &mut [Running]) -> Vec<f32> {
        let embed = &self.model.embed;
        let row = |sequence: &Running| &embed.data[sequence.last() as usize * embed.cols..][..embed.cols];
        let mut x: Vec<f32> = running.iter().flat_map(row).copied().collect();
        for layer in 0..self.model.layers.len() {
            self.block(layer, &mut x, running);
        }
        self.logits(&x)
    }

    fn block(&self, index: usize, x: &mut [f32], running: &mut [Running]) {
        let (config, layer) = (&self.model.config, &self.model.layers[index]);
        let apply = |projection, x: &[f32]| self.linear(index, projection, x);
        let normed = rmsnorm::forward(x, &layer.attn_norm, config.norm_eps);
        let [mut q, mut k, v] =
            [Projection::Q, Projection::K, Projection::V].map(|projection| apply(projection, &normed));
        self.rotate(&mut q, running);
        self.rotate(&mut k, running);
        let width = config.kv_heads * config.head_dim;
        for ((sequence, k), v) in running.iter_mut().zip(k.chunks_exact(width)).zip(v.chunks_exact(width)) {
            sequence.suffix.push(index, k, v);
        }
        add(x, &apply(Projection::O, &attend(config, index, &q, running)));
        let normed = rmsnorm::forward(x, &layer.ffn_norm, config.norm_eps);
        let (gate, up) = (apply(Projection::Gate, &normed), apply(Projection::Up, &normed));
        add(x, &apply(Projection::Down, &swiglu::forward(&gate, &up)));
    }

    /// y = x Wᵀ + b + c·(x Aᵀ) Bᵀ, row by row.
    fn linear(&self, layer: usize, projection: Projection, x: &[f32]) -> Vec<f32> {
        let weights = &self.model.layers[layer];
        let weight = weights.weight(projection);
        let mut y = product(x, weight);
        if let Some(bias) = weights.bias(projection) {
            y.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
        }
        let low = self.low.get(layer).and_then(|block| block[projection.index()].as_ref());
        let Some(low) = low else { return y };
        let s = product(x, low.a);
        vectorised(|| {
            for (y, s) in y.chunks_exact_mut(weight.rows).zip(s.chunks_exact(low.a.rows)) {
                for (s, b) in s.iter().zip(low.b_rows.chunks_exact(weight.rows)) {
                    add_scaled(y, *s, b);
                }
            }
        });
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
        product(&rmsnorm::forward(x, &self.model.final_norm, self.model.config.norm_eps), self.model.head())
    }
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
