//! How large everything is.

/// The sizes of a model and of a packed batch.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub hidden: usize,
    pub ffn: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Values of a head.
    pub d: usize,
    pub vocab: usize,
    pub layers: usize,
    /// r of every projection.
    pub rank: usize,
    /// Pairs of the batch, each a prompt and two responses, in tokens; a text as long as a prompt fills it up.
    pub pairs: usize,
    pub prompt: usize,
    pub response: usize,
    /// Rows of what is streamed to find the memory's ceiling.
    pub streamed: usize,
    /// m, n and k of the product that finds the ceiling of products.
    pub product: usize,
    /// Rows of logits that tokens are drawn from.
    pub drawn: usize,
}

/// Llama-3.1-8B, 16,384 rows with 5,120 targets.
pub const LLAMA: Sizes = Sizes {
    hidden: 4_096,
    ffn: 14_336,
    heads: 32,
    kv_heads: 8,
    d: 128,
    vocab: 128_256,
    layers: 32,
    rank: 16,
    pairs: 10,
    prompt: 1_024,
    response: 256,
    streamed: 65_536,
    product: 8_192,
    drawn: 256,
};

/// What the simulation does in a minute.
pub const TINY: Sizes = Sizes {
    hidden: 64,
    ffn: 96,
    heads: 4,
    kv_heads: 2,
    d: 16,
    vocab: 512,
    layers: 1,
    rank: 4,
    pairs: 2,
    prompt: 12,
    response: 6,
    streamed: 64,
    product: 64,
    drawn: 2,
};

impl Sizes {
    pub fn rows(&self) -> usize {
        self.pairs * (self.prompt + 2 * self.response) + self.prompt
    }

    pub fn targets(&self) -> usize {
        2 * self.pairs * self.response
    }

    /// Values of a row of q, k and v.
    pub fn qkv(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.d
    }

    /// Keys that all queries together see, in one head.
    pub fn seen(&self) -> usize {
        let causal = |rows: usize| rows * (rows + 1) / 2;
        let branch = self.response * self.prompt + causal(self.response);
        self.pairs * (causal(self.prompt) + 2 * branch) + causal(self.prompt)
    }

    /// Values of the whole adapter.
    pub fn adapter(&self) -> usize {
        let widths = self.matrices().map(|matrix| matrix.parts * matrix.inner + matrix.out);
        self.layers * self.rank * widths.iter().sum::<usize>()
    }

    /// The frozen matrices of a block.
    pub fn matrices(&self) -> [Matrix; 4] {
        let queries = self.heads * self.d;
        let matrix =
            |name, inner, out, first, parts| Matrix { name, inner, out, first, parts, rank: parts * self.rank };
        [
            matrix("qkv", self.hidden, self.qkv(), queries, 3),
            matrix("o", queries, self.hidden, self.hidden, 1),
            matrix("gate and up", self.hidden, 2 * self.ffn, self.ffn, 2),
            matrix("down", self.ffn, self.hidden, self.hidden, 1),
        ]
    }
}

/// Projections that share an input, as one matrix `[out, inner | rank]`.
#[derive(Clone, Copy)]
pub struct Matrix {
    pub name: &'static str,
    pub inner: usize,
    pub out: usize,
    /// Outputs of the first projection.
    pub first: usize,
    /// Projections.
    pub parts: usize,
    /// The sum of their ranks.
    pub rank: usize,
}

impl Matrix {
    /// Values between rows, as the trainer lays them.
    pub fn stride(&self) -> usize {
        (self.inner + self.rank).next_multiple_of(8)
    }
}
