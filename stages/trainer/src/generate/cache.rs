//! Keys and values of what has been read: of a prompt, shared by its samples, and of what each sample has written.

use crate::config::Config;

/// Tokens of a prompt whose keys are stored together: they stay in the nearest cache while all queries go through them.
pub(super) const BLOCK: usize = 64;

/// A prompt's keys and values of one layer.
pub(super) struct LayerCache {
    /// Rotated keys, `[kv_heads]`, and for each block of [`BLOCK`] tokens (the last may have fewer) `[d][tokens]`, so that
    /// the scores of neighbouring tokens are computed together.
    pub(super) k: Vec<f32>,
    /// Values, `[kv_heads][tokens][d]`.
    pub(super) v: Vec<f32>,
}

/// A prompt's keys and values, by layer.
pub(super) struct Prefix {
    pub(super) tokens: usize,
    pub(super) layers: Vec<LayerCache>,
}

/// Keys and values of one sample's own tokens: `[layer · kv_heads + head]`, each `[tokens][d]`, growing.
pub(super) struct Suffix {
    kv_heads: usize,
    heads: Vec<HeadCache>,
}

/// One key head of one layer.
#[derive(Clone, Default)]
pub(super) struct HeadCache {
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl LayerCache {
    /// From keys and values `[kv_heads][tokens][d]`.
    pub(super) fn new(k: &[f32], v: &[f32], tokens: usize, d: usize) -> Self {
        let blocks = k.chunks_exact(tokens * d).flat_map(|head| head.chunks(BLOCK * d));
        let transposed = blocks.flat_map(|block| (0..d).flat_map(move |i| block.iter().skip(i).step_by(d)));
        Self { k: transposed.copied().collect(), v: v.to_vec() }
    }
}

impl Suffix {
    pub(super) fn new(config: &Config) -> Self {
        Self { kv_heads: config.kv_heads, heads: vec![HeadCache::default(); config.layers * config.kv_heads] }
    }

    pub(super) fn head(&self, layer: usize, head: usize) -> &HeadCache {
        &self.heads[layer * self.kv_heads + head]
    }

    /// Adds a token: `k` and `v` are `[kv_heads][d]`, the keys rotated.
    pub(super) fn push(&mut self, layer: usize, k: &[f32], v: &[f32]) {
        let d = k.len() / self.kv_heads;
        let heads = &mut self.heads[layer * self.kv_heads..][..self.kv_heads];
        for ((head, k), v) in heads.iter_mut().zip(k.chunks_exact(d)).zip(v.chunks_exact(d)) {
            head.k.extend_from_slice(k);
            head.v.extend_from_slice(v);
        }
    }
}

/// What a token's keys and values take in all layers (bytes).
pub(super) fn bytes_per_token(config: &Config) -> usize {
    2 * size_of::<f32>() * config.layers * config.kv_heads * config.head_dim
}
