//! What a step has to do.

use obvert_trainer::random::SplitMix64;
use obvert_trainer::{Config, Projection, TokenPair};

/// Pairs of one length, and the adapter's rank.
pub struct Work {
    pub pairs: usize,
    pub prompt: usize,
    pub response: usize,
    pub rank: usize,
}

impl Work {
    /// Random tokens.
    pub fn pairs(&self, vocab: usize) -> Vec<TokenPair> {
        let mut random = SplitMix64(1);
        let mut tokens = |count| (0..count).map(|_| random.below(vocab) as u32).collect::<Vec<u32>>();
        let mut pair = || TokenPair {
            prompt: tokens(self.prompt),
            chosen: tokens(self.response),
            rejected: tokens(self.response),
            gap: 1.0,
        };
        (0..self.pairs).map(|_| pair()).collect()
    }

    /// Tokens of both full sequences of every pair.
    pub fn tokens(&self) -> usize {
        2 * self.pairs * (self.prompt + self.response)
    }

    /// Tokens with each prompt once.
    pub fn rows(&self) -> usize {
        self.pairs * (self.prompt + 2 * self.response)
    }

    /// FLOPs of a step with each prompt computed once. A frozen matrix costs 2 a weight and row forward, and 2 backward
    /// for dX: it has no gradient. The adapter's have one: 6. Attention costs 4 d a head and pair of rows that see each
    /// other, q kᵀ and p v, and backward 2.5 times that. The head sees targets only.
    pub fn flops(&self, config: &Config) -> [(&'static str, f64); 4] {
        let shapes = Projection::ALL.map(|projection| projection.shape(config));
        let weights: usize = shapes.iter().map(|(out, inner)| out * inner).sum();
        let low: usize = shapes.iter().map(|(out, inner)| self.rank * (out + inner)).sum();
        let (rows, targets) = (self.rows(), 2 * self.pairs * self.response);
        let heads = config.heads * config.head_dim;
        [
            ("layers", 4.0 * (rows * config.layers * weights) as f64),
            ("head", 4.0 * (targets * config.vocab_size * config.hidden) as f64),
            ("attention", 3.5 * 4.0 * (self.seen() * heads * config.layers) as f64),
            ("adapter", 6.0 * (rows * config.layers * low) as f64),
        ]
    }

    /// Rows that all rows together see: those of a prompt itself, those of a response its prompt and itself.
    fn seen(&self) -> usize {
        let causal = |rows: usize| rows * (rows + 1) / 2;
        self.pairs * (causal(self.prompt) + 2 * (self.response * self.prompt + causal(self.response)))
    }
}
