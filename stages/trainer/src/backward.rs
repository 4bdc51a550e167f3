//! The backward pass over a packed batch, block by block from the last to the first.

use crate::buffers::Buffer;
use crate::forward::{Block, BlockActivations, Pass};
use crate::lora::{Adapter, BlockAdapter};
use crate::ops::{heads, rmsnorm, swiglu, vector};
use crate::projection::Projection;
use crate::real::Real;
use crate::settings::Activations;

impl<F: Real> Block<'_, F> {
    /// From ∂L/∂output `[rows, hidden]`: adds the adapter's gradients to `gradient` and returns ∂L/∂input, or
    /// nothing where nothing below learns.
    fn backward(
        &self,
        d_output: Buffer<F>,
        saved: BlockActivations<F>,
        gradient: &mut BlockAdapter<F>,
        below: bool,
    ) -> Option<Buffer<F>> {
        let BlockActivations { input, qkv, attended, middle, gate, up, low } = saved;
        let (buffers, rows) = (self.buffers, self.pack.tokens.len());
        let mut propagate = |projection: Projection, dy: &[F], x: &[F], dx: Option<&mut [F]>| {
            let (at, linear) = (projection.index(), self.linear(projection));
            linear.backward(dy, (x, low[at].as_deref()), gradient[at].as_mut(), dx, buffers);
        };

        let (hidden, ffn) = (input.len() / rows, gate.len() / rows);
        let (mut d_gate, mut d_up) = (gate, up);
        let inner = swiglu::forward(&d_gate, &d_up, ffn, buffers);
        let mut d_inner = buffers.zeros(rows, ffn);
        propagate(Projection::Down, &d_output, &inner, Some(&mut d_inner));
        drop(inner);
        swiglu::backward(&d_inner, &mut d_gate, &mut d_up);
        drop(d_inner);
        let normed = rmsnorm::forward(&middle, &self.layer.ffn_norm, self.eps, buffers);
        let mut d_normed = buffers.zeros(rows, hidden);
        propagate(Projection::Gate, &d_gate, &normed, Some(&mut d_normed));
        propagate(Projection::Up, &d_up, &normed, Some(&mut d_normed));
        drop((d_gate, d_up, normed));
        let mut d_middle = d_output;
        rmsnorm::backward(&d_normed, &middle, &self.layer.ffn_norm, self.eps, &mut d_middle);

        let d = self.attention.head_dim;
        let merged = heads::merge(&attended.out, self.pack, d, None, buffers);
        let mut d_merged = buffers.zeros(rows, merged.len() / rows);
        propagate(Projection::O, &d_middle, &merged, Some(&mut d_merged));
        let d_out = heads::split(&d_merged, self.pack, d, None, buffers);
        drop((merged, d_merged));
        let d_qkv = self.attention.backward(&d_out, &qkv, &attended, self.pack, buffers);
        let d_q = heads::merge(&d_qkv.q, self.pack, d, Some(self.rotary), buffers);
        let d_k = heads::merge(&d_qkv.k, self.pack, d, Some(self.rotary), buffers);
        let d_v = heads::merge(&d_qkv.v, self.pack, d, None, buffers);
        let normed = rmsnorm::forward(&input, &self.layer.attn_norm, self.eps, buffers);
        let mut d_normed = below.then(|| buffers.zeros(rows, hidden));
        propagate(Projection::Q, &d_q, &normed, d_normed.as_deref_mut());
        propagate(Projection::K, &d_k, &normed, d_normed.as_deref_mut());
        propagate(Projection::V, &d_v, &normed, d_normed.as_deref_mut());
        rmsnorm::backward(&d_normed?, &input, &self.layer.attn_norm, self.eps, &mut d_middle);
        Some(d_middle)
    }
}

/// What is kept of a block until its backward.
#[derive(Debug)]
enum Saved<F> {
    /// All that it reads.
    All(Box<BlockActivations<F>>),
    /// The block's input `[rows, hidden]`, from which the rest is computed again.
    Input(Buffer<F>),
}

/// A forward pass that waits for its loss: the responses' log-probs, and what the backward needs.
#[derive(Debug)]
pub(crate) struct Pending<'a, F> {
    pass: Pass<'a, F>,
    saved: Vec<Saved<F>>,
    /// The residual stream after the last block, `[rows, hidden]`.
    last: Buffer<F>,
    /// ∂log p/∂(normed hidden state) of every target, `[targets, hidden]`.
    d_logp: Buffer<F>,
    /// Summed log-probs of the responses, in the order of packing.
    pub(crate) logps: Vec<f64>,
}

impl<'a, F: Real> Pending<'a, F> {
    pub(crate) fn forward(pass: Pass<'a, F>, activations: Activations) -> Self {
        let mut saved = Vec::with_capacity(pass.model.layers.len());
        let last = pass.run(|block| {
            saved.push(match activations {
                Activations::Keep => Saved::All(Box::new(block)),
                Activations::Recompute => Saved::Input(block.input),
            });
        });
        let tokens = pass.target_logps(&last, true);
        let logps = pass.by_sequence(&tokens.logps);
        Self { pass, saved, last, d_logp: tokens.gradient, logps }
    }

    /// Adds the adapter's gradients, given ∂L/∂log p of every response.
    pub(crate) fn backward(self, coefficients: &[f64], gradient: &mut Adapter<F>) {
        let Self { pass, saved, last, d_logp, .. } = self;
        let mut dx = d_last(&pass, &last, d_logp, coefficients);
        drop(last);
        for (index, saved) in saved.into_iter().enumerate().rev() {
            let block = pass.block(index);
            let saved = match saved {
                Saved::All(activations) => *activations,
                Saved::Input(input) => block.forward(input).1,
            };
            match block.backward(dx, saved, &mut gradient.layers[index], index > 0) {
                Some(below) => dx = below,
                None => return,
            }
        }
    }
}

/// ∂L/∂(residual stream after the last block), `[rows, hidden]`.
fn d_last<F: Real>(pass: &Pass<'_, F>, last: &[F], d_logp: Buffer<F>, coefficients: &[f64]) -> Buffer<F> {
    let (width, buffers) = (pass.model.config.hidden, pass.buffers);
    let mut d_hidden = d_logp;
    for (row, target) in d_hidden.chunks_exact_mut(width).zip(&pass.pack.targets) {
        let coefficient = F::from_f64(coefficients[target.sequence]);
        row.iter_mut().for_each(|value| *value *= coefficient);
    }
    let gathered = pass.gather(last);
    let mut d_gathered = buffers.zeros(pass.pack.targets.len(), width);
    let (gain, eps) = (&pass.model.final_norm, pass.model.config.norm_eps);
    rmsnorm::backward(&d_hidden, &gathered, gain, eps, &mut d_gathered);
    let mut dx = buffers.zeros(pass.pack.tokens.len(), width);
    // Two targets may share a row (the prompt's last): their gradients add up.
    for (row, target) in d_gathered.chunks_exact(width).zip(&pass.pack.targets) {
        vector::add(&mut dx[target.row * width..][..width], row);
    }
    dx
}
