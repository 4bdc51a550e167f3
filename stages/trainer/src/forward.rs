//! The forward pass over a packed batch, block by block.

use crate::buffers::{Buffer, Buffers};
use crate::config::Config;
use crate::lora::{Adapter, BlockAdapter};
use crate::model::{Layer, Matrix, Model};
use crate::ops::attention::{Attended, Attention, Qkv};
use crate::ops::linear::Linear;
use crate::ops::logprobs::{TokenLogps, VOCAB_CHUNK, token_logps};
use crate::ops::rope::RotaryTable;
use crate::ops::{heads, rmsnorm, swiglu, vector};
use crate::pack::Pack;
use crate::projection::Projection;
use crate::real::Real;

/// A block with everything its computation needs: weights, adapter, sizes and tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a, F> {
    pub(crate) layer: &'a Layer<F>,
    pub(crate) adapter: Option<(&'a BlockAdapter<F>, F)>,
    pub(crate) eps: f64,
    pub(crate) attention: Attention,
    pub(crate) rotary: &'a RotaryTable<F>,
    pub(crate) pack: &'a Pack,
    pub(crate) buffers: &'a Buffers<F>,
}

/// What the backward of one block reads. Norms and SwiGLU are cheap and computed again.
#[derive(Debug)]
pub(crate) struct BlockActivations<F> {
    /// The block's input, `[rows, hidden]`.
    pub(crate) input: Buffer<F>,
    pub(crate) qkv: Qkv<F>,
    pub(crate) attended: Attended<F>,
    /// The residual stream between attention and feed-forward, `[rows, hidden]`.
    pub(crate) middle: Buffer<F>,
    /// `[rows, ffn]`.
    pub(crate) gate: Buffer<F>,
    /// `[rows, ffn]`.
    pub(crate) up: Buffer<F>,
    /// x Aᵀ of every projection that has an adapter, `[rows, r]`.
    pub(crate) low: [Option<Buffer<F>>; 7],
}

impl<'a, F: Real> Block<'a, F> {
    pub(crate) fn linear(&self, projection: Projection) -> Linear<'a, F> {
        let low = self.adapter.and_then(|(block, scale)| Some((block[projection.index()].as_ref()?, scale)));
        Linear { weight: self.layer.weight(projection), bias: self.layer.bias(projection), lora: low }
    }

    /// The block's output `[rows, hidden]` from its input.
    pub(crate) fn forward(&self, input: Buffer<F>) -> (Buffer<F>, BlockActivations<F>) {
        let (mut low, buffers) = ([const { None }; 7], self.buffers);
        let mut apply = |projection: Projection, x: &[F]| {
            let (y, s) = self.linear(projection).forward(x, buffers);
            low[projection.index()] = s;
            y
        };
        let (d, ffn, rotary) = (self.attention.head_dim, self.layer.gate.rows(), Some(self.rotary));
        let normed = rmsnorm::forward(&input, &self.layer.attn_norm, self.eps, buffers);
        let qkv = Qkv {
            q: heads::split(&apply(Projection::Q, &normed), self.pack, d, rotary, buffers),
            k: heads::split(&apply(Projection::K, &normed), self.pack, d, rotary, buffers),
            v: heads::split(&apply(Projection::V, &normed), self.pack, d, None, buffers),
        };
        let attended = self.attention.forward(&qkv, self.pack, buffers);
        let mut middle = apply(Projection::O, &heads::merge(&attended.out, self.pack, d, None, buffers));
        vector::add(&mut middle, &input);
        let normed = rmsnorm::forward(&middle, &self.layer.ffn_norm, self.eps, buffers);
        let (gate, up) = (apply(Projection::Gate, &normed), apply(Projection::Up, &normed));
        let mut output = apply(Projection::Down, &swiglu::forward(&gate, &up, ffn, buffers));
        vector::add(&mut output, &middle);
        (output, BlockActivations { input, qkv, attended, middle, gate, up, low })
    }
}

/// A model with an adapter and the tables of one packed batch.
#[derive(Debug)]
pub(crate) struct Pass<'a, F> {
    pub(crate) model: &'a Model<F>,
    pub(crate) adapter: Option<&'a Adapter<F>>,
    pub(crate) pack: &'a Pack,
    pub(crate) buffers: &'a Buffers<F>,
    rotary: RotaryTable<F>,
}

impl<'a, F: Real> Pass<'a, F> {
    pub(crate) fn new(
        model: &'a Model<F>,
        adapter: Option<&'a Adapter<F>>,
        pack: &'a Pack,
        buffers: &'a Buffers<F>,
    ) -> Self {
        let rotary = RotaryTable::new(&model.config, pack.longest(), buffers);
        Self { model, adapter, pack, buffers, rotary }
    }

    pub(crate) fn block(&self, index: usize) -> Block<'_, F> {
        let Config { heads, kv_heads, head_dim, norm_eps, .. } = self.model.config;
        Block {
            layer: &self.model.layers[index],
            adapter: self.adapter.map(|adapter| (&adapter.layers[index], adapter.scale())),
            eps: norm_eps,
            attention: Attention { heads, kv_heads, head_dim },
            rotary: &self.rotary,
            pack: self.pack,
            buffers: self.buffers,
        }
    }

    /// The residual stream after the last block `[rows, hidden]`; each block's activations go to `keep`.
    pub(crate) fn run(&self, mut keep: impl FnMut(BlockActivations<F>)) -> Buffer<F> {
        let embed = &self.model.embed;
        let mut x = self.buffers.take(self.pack.tokens.len(), embed.cols());
        for (row, token) in x.chunks_exact_mut(embed.cols()).zip(&self.pack.tokens) {
            embed.read(*token as usize, row);
        }
        for index in 0..self.model.layers.len() {
            let (output, activations) = self.block(index).forward(x);
            keep(activations);
            x = output;
        }
        x
    }

    /// log p of every target of the pack, and its gradient with respect to the normed hidden state.
    pub(crate) fn target_logps(&self, x: &[F], with_gradient: bool) -> TokenLogps<F> {
        let gathered = self.gather(x);
        let hidden = rmsnorm::forward(&gathered, &self.model.final_norm, self.model.config.norm_eps, self.buffers);
        let tokens: Vec<u32> = self.pack.targets.iter().map(|target| target.token).collect();
        token_logps(&hidden, self.model.head(), &tokens, VOCAB_CHUNK, with_gradient, self.buffers)
    }

    /// The targets' log-probs added up by response.
    pub(crate) fn by_sequence(&self, logps: &[F]) -> Vec<f64> {
        let mut sums = vec![0.0; self.pack.sequences];
        for (target, logp) in self.pack.targets.iter().zip(logps) {
            sums[target.sequence] += logp.to_f64();
        }
        sums
    }

    /// The predicting row of every target, `[targets, hidden]`.
    pub(crate) fn gather(&self, x: &[F]) -> Buffer<F> {
        let (targets, width) = (&self.pack.targets, self.model.config.hidden);
        let mut rows = self.buffers.take(targets.len(), width);
        for (row, target) in rows.chunks_exact_mut(width).zip(targets) {
            row.copy_from_slice(&x[target.row * width..][..width]);
        }
        rows
    }
}

/// The logits of every position of a text, `[tokens, vocab]`: for inspection, training never stores them.
/// Tokens must be below the vocabulary's size.
pub fn logits<F: Real>(model: &Model<F>, adapter: Option<&Adapter<F>>, tokens: &[u32]) -> Matrix<F> {
    let mut pack = Pack::default();
    pack.push_text(tokens);
    let buffers = Buffers::default();
    let x = Pass::new(model, adapter, &pack, &buffers).run(drop);
    let hidden = rmsnorm::forward(&x, &model.final_norm, model.config.norm_eps, &buffers);
    let mut logits = Matrix::zeros(tokens.len(), model.config.vocab_size);
    let head = Linear { weight: model.head(), bias: None, lora: None };
    logits.data.copy_from_slice(&head.forward(&hidden, &buffers).0);
    logits
}
