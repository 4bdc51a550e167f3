//! The forward pass over a packed batch, block by block.

use crate::config::Config;
use crate::lora::{Adapter, BlockAdapter};
use crate::model::{Layer, Matrix, Model};
use crate::ops::attention::{Attended, Attention, Qkv};
use crate::ops::linear::Linear;
use crate::ops::logprobs::{TokenLogps, VOCAB_CHUNK, token_logps};
use crate::ops::product::{Threads::Pool, View, ViewMut, Write, multiply};
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
}

/// What the backward of one block reads. Norms and SwiGLU are cheap and computed again.
#[derive(Clone, Debug)]
pub(crate) struct BlockActivations<F> {
    /// The block's input, `[rows, hidden]`.
    pub(crate) input: Vec<F>,
    pub(crate) qkv: Qkv<F>,
    pub(crate) attended: Attended<F>,
    /// The residual stream between attention and feed-forward, `[rows, hidden]`.
    pub(crate) middle: Vec<F>,
    /// `[rows, ffn]`.
    pub(crate) gate: Vec<F>,
    /// `[rows, ffn]`.
    pub(crate) up: Vec<F>,
    /// x Aᵀ of every projection, `[rows, r]`; empty without an adapter.
    pub(crate) low: [Vec<F>; 7],
}

impl<'a, F: Real> Block<'a, F> {
    pub(crate) fn linear(&self, projection: Projection) -> Linear<'a, F> {
        let low = self.adapter.and_then(|(block, scale)| Some((block[projection.index()].as_ref()?, scale)));
        Linear { weight: self.layer.weight(projection), bias: self.layer.bias(projection), lora: low }
    }

    /// The block's output `[rows, hidden]` from its input.
    pub(crate) fn forward(&self, input: Vec<F>) -> (Vec<F>, BlockActivations<F>) {
        let mut low = [const { Vec::new() }; 7];
        let mut apply = |projection: Projection, x: &[F]| {
            let (y, s) = self.linear(projection).forward(x);
            low[projection.index()] = s;
            y
        };
        let d = self.attention.head_dim;
        let normed = rmsnorm::forward(&input, &self.layer.attn_norm, self.eps);
        let qkv = Qkv {
            q: heads::split(&apply(Projection::Q, &normed), self.pack, d, Some(self.rotary)),
            k: heads::split(&apply(Projection::K, &normed), self.pack, d, Some(self.rotary)),
            v: heads::split(&apply(Projection::V, &normed), self.pack, d, None),
        };
        let attended = self.attention.forward(&qkv, self.pack);
        let mut middle = apply(Projection::O, &heads::merge(&attended.out, self.pack, d, None));
        vector::add(&mut middle, &input);
        let normed = rmsnorm::forward(&middle, &self.layer.ffn_norm, self.eps);
        let (gate, up) = (apply(Projection::Gate, &normed), apply(Projection::Up, &normed));
        let mut output = apply(Projection::Down, &swiglu::forward(&gate, &up));
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
    rotary: RotaryTable<F>,
}

impl<'a, F: Real> Pass<'a, F> {
    pub(crate) fn new(model: &'a Model<F>, adapter: Option<&'a Adapter<F>>, pack: &'a Pack) -> Self {
        let rotary = RotaryTable::new(&model.config, pack.longest());
        Self { model, adapter, pack, rotary }
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
        }
    }

    /// The residual stream after the last block `[rows, hidden]`; each block's activations go to `keep`.
    pub(crate) fn run(&self, mut keep: impl FnMut(BlockActivations<F>)) -> Vec<F> {
        let embed = &self.model.embed;
        let row = |token: &u32| &embed.data[*token as usize * embed.cols..][..embed.cols];
        let mut x: Vec<F> = self.pack.tokens.iter().flat_map(row).copied().collect();
        for index in 0..self.model.layers.len() {
            let (output, activations) = self.block(index).forward(x);
            keep(activations);
            x = output;
        }
        x
    }

    /// log p of every target of the pack, and its gradient with respect to the normed hidden state.
    pub(crate) fn target_logps(&self, x: &[F], with_gradient: bool) -> TokenLogps<F> {
        let gathered = gather(x, self.pack, self.model.config.hidden);
        let hidden = rmsnorm::forward(&gathered, &self.model.final_norm, self.model.config.norm_eps);
        let tokens: Vec<u32> = self.pack.targets.iter().map(|target| target.token).collect();
        token_logps(&hidden, self.model.head(), &tokens, VOCAB_CHUNK, with_gradient)
    }

    /// The targets' log-probs added up by response.
    pub(crate) fn by_sequence(&self, logps: &[F]) -> Vec<f64> {
        let mut sums = vec![0.0; self.pack.sequences];
        for (target, logp) in self.pack.targets.iter().zip(logps) {
            sums[target.sequence] += logp.to_f64();
        }
        sums
    }
}

/// The predicting row of every target, `[targets, width]`.
pub(crate) fn gather<F: Real>(x: &[F], pack: &Pack, width: usize) -> Vec<F> {
    pack.targets.iter().flat_map(|target| &x[target.row * width..][..width]).copied().collect()
}

/// The logits of every position of a text, `[tokens, vocab]`: for inspection, training never stores them.
/// Tokens must be below the vocabulary's size.
pub fn logits<F: Real>(model: &Model<F>, adapter: Option<&Adapter<F>>, tokens: &[u32]) -> Matrix<F> {
    let mut pack = Pack::default();
    pack.push_text(tokens);
    let x = Pass::new(model, adapter, &pack).run(drop);
    let hidden = rmsnorm::forward(&x, &model.final_norm, model.config.norm_eps);
    let mut logits = Matrix::zeros(tokens.len(), model.config.vocab_size);
    let (rows, cols) = (logits.rows, logits.cols);
    let hidden = View::new(&hidden, rows, model.config.hidden);
    let written = ViewMut::new(&mut logits.data, rows, cols);
    multiply(written, Write::Replace, F::ONE, hidden, View::from(model.head()).t(), Pool);
    logits
}
