//! The model's forward pass over a few new tokens, with the keys and values of all earlier ones kept.

use rayon::prelude::*;

use crate::lora::Adapter;
use crate::model::Model;
use crate::ops::linear::Linear;
use crate::ops::product::{Threads::Pool, View, ViewMut, Write, multiply};
use crate::ops::rope::{RotaryTable, Turn};
use crate::ops::{rmsnorm, swiglu, vector};
use crate::projection::Projection;

/// A new token: of a job's prompt, or of a sequence that continues it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) token: u32,
    pub(super) position: usize,
    pub(super) job: usize,
    pub(super) sequence: Option<usize>,
}

/// Keys and values of one layer, `[tokens, kv_heads · d]` each.
#[derive(Clone, Debug, Default)]
struct KeysValues {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// A model and the caches of one wave. A prompt's cache is shared by its sequences; each adds its own.
pub(super) struct Decoder<'a> {
    model: &'a Model<f32>,
    adapter: Option<&'a Adapter<f32>>,
    rotary: RotaryTable<f32>,
    /// By layer and job.
    prompts: Vec<Vec<KeysValues>>,
    /// By layer and sequence.
    own: Vec<Vec<KeysValues>>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        model: &'a Model<f32>,
        adapter: Option<&'a Adapter<f32>>,
        jobs: usize,
        sequences: usize,
        positions: usize,
    ) -> Self {
        let caches = |count: usize| vec![vec![KeysValues::default(); count]; model.config.layers];
        let rotary = RotaryTable::new(&model.config, positions);
        Decoder {
            model,
            adapter,
            rotary,
            prompts: caches(jobs),
            own: caches(sequences),
        }
    }

    pub(super) fn vocabulary(&self) -> usize {
        self.model.config.vocab_size
    }

    /// Frees what an ended sequence kept.
    pub(super) fn forget(&mut self, sequence: usize) {
        self.own
            .iter_mut()
            .for_each(|layer| layer[sequence] = KeysValues::default());
    }

    /// Takes in new tokens; logits `[wanted, vocabulary]` behind those rows that are wanted.
    pub(super) fn logits(&mut self, rows: &[Row], wanted: &[usize]) -> Vec<f32> {
        let (hidden, eps) = (self.model.config.hidden, self.model.config.norm_eps);
        let embed = &self.model.embed;
        let mut x: Vec<f32> = rows
            .iter()
            .flat_map(|row| &embed.data[row.token as usize * hidden..][..hidden])
            .copied()
            .collect();
        for layer in 0..self.model.config.layers {
            self.block(layer, rows, &mut x);
        }
        let last: Vec<f32> = wanted
            .iter()
            .flat_map(|row| &x[row * hidden..][..hidden])
            .copied()
            .collect();
        let normed = rmsnorm::forward(&last, &self.model.final_norm, eps);
        let mut logits = vec![0.0; wanted.len() * self.vocabulary()];
        multiply(
            ViewMut::new(&mut logits, wanted.len(), self.vocabulary()),
            Write::Replace,
            1.0,
            View::new(&normed, wanted.len(), hidden),
            View::from(self.model.head()).t(),
            Pool,
        );
        logits
    }

    fn block(&mut self, index: usize, rows: &[Row], x: &mut [f32]) {
        let layer = &self.model.layers[index];
        let eps = self.model.config.norm_eps;
        let normed = rmsnorm::forward(x, &layer.attn_norm, eps);
        let attended = self.attend(index, rows, &normed);
        vector::add(x, &self.linear(index, Projection::O, &attended));
        let normed = rmsnorm::forward(x, &layer.ffn_norm, eps);
        let (gate, up) = (
            self.linear(index, Projection::Gate, &normed),
            self.linear(index, Projection::Up, &normed),
        );
        vector::add(
            x,
            &self.linear(index, Projection::Down, &swiglu::forward(&gate, &up)),
        );
    }

    fn linear(&self, index: usize, projection: Projection, x: &[f32]) -> Vec<f32> {
        let layer = &self.model.layers[index];
        let lora = self.adapter.and_then(|adapter| {
            Some((
                adapter.layers[index][projection.index()].as_ref()?,
                adapter.scale(),
            ))
        });
        Linear {
            weight: layer.weight(projection),
            bias: layer.bias(projection),
            lora,
        }
        .forward(x)
        .0
    }

    /// Attention of the new rows over everything before them, `[rows, heads · d]`.
    fn attend(&mut self, index: usize, rows: &[Row], x: &[f32]) -> Vec<f32> {
        let config = &self.model.config;
        let (d, width) = (config.head_dim, config.kv_heads * config.head_dim);
        let mut q = self.linear(index, Projection::Q, x);
        let mut k = self.linear(index, Projection::K, x);
        let v = self.linear(index, Projection::V, x);
        for (row, (q, k)) in rows.iter().zip(
            q.chunks_exact_mut(config.heads * d)
                .zip(k.chunks_exact_mut(width)),
        ) {
            let heads = q.chunks_exact_mut(d).chain(k.chunks_exact_mut(d));
            heads.for_each(|head| self.rotary.rotate(head, row.position, Turn::Forward));
        }
        for (row, (k, v)) in rows
            .iter()
            .zip(k.chunks_exact(width).zip(v.chunks_exact(width)))
        {
            let cache = match row.sequence {
                Some(sequence) => &mut self.own[index][sequence],
                None => &mut self.prompts[index][row.job],
            };
            cache.keys.extend_from_slice(k);
            cache.values.extend_from_slice(v);
        }
        let mut out = vec![0.0; q.len()];
        let (prompts, own) = (&self.prompts[index], &self.own[index]);
        out.par_chunks_mut(config.heads * d)
            .zip(q.par_chunks(config.heads * d))
            .zip(rows)
            .for_each(|((out, q), row)| {
                let none = KeysValues::default();
                let own = row.sequence.map_or(&none, |sequence| &own[sequence]);
                // A prompt's row sees the prompt up to itself, a sequence's row all of it.
                let seen = row
                    .sequence
                    .map_or(row.position + 1, |_| prompts[row.job].keys.len() / width);
                let shared = &prompts[row.job];
                for (head, (out, q)) in out.chunks_exact_mut(d).zip(q.chunks_exact(d)).enumerate() {
                    let at = head / (config.heads / config.kv_heads) * d;
                    let parts = [(shared, seen), (own, own.keys.len() / width)];
                    attend_head(out, q, parts, at, width);
                }
            });
        out
    }
}

/// One query head over the parts' keys and values; `at` is where its key/value head begins within a row of `width`.
fn attend_head(
    out: &mut [f32],
    q: &[f32],
    parts: [(&KeysValues, usize); 2],
    at: usize,
    width: usize,
) {
    let scale = 1.0 / (q.len() as f32).sqrt();
    let mut scores: Vec<f32> = Vec::with_capacity(parts[0].1 + parts[1].1);
    for (part, tokens) in parts {
        let keys = part
            .keys
            .chunks_exact(width)
            .take(tokens)
            .map(|row| &row[at..at + q.len()]);
        scores.extend(keys.map(|k| q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * scale));
    }
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores
        .iter_mut()
        .for_each(|score| *score = (*score - highest).exp());
    let total: f32 = scores.iter().sum();
    let mut weights = scores.iter();
    for (part, tokens) in parts {
        for (row, weight) in part
            .values
            .chunks_exact(width)
            .take(tokens)
            .zip(weights.by_ref())
        {
            let weight = weight / total;
            out.iter_mut()
                .zip(&row[at..])
                .for_each(|(out, v)| *out += weight * v);
        }
    }
}
