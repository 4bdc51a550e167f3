//! The backward pass over a packed batch, block by block from the last to the first.

use crate::forward::{Block, BlockActivations, Pass, gather};
use crate::lora::{Adapter, BlockAdapter};
use crate::ops::{heads, rmsnorm, swiglu, vector};
use crate::projection::Projection;
use crate::real::Real;

impl<F: Real> Block<'_, F> {
    /// From ∂L/∂output `[rows, hidden]`: adds the adapter's gradients to `gradient` and returns ∂L/∂input, or
    /// nothing where nothing below learns.
    fn backward(
        &self,
        d_output: Vec<F>,
        saved: BlockActivations<F>,
        gradient: &mut BlockAdapter<F>,
        below: bool,
    ) -> Option<Vec<F>> {
        let BlockActivations { input, qkv, attended, middle, gate, up, low } = saved;
        let mut propagate = |projection: Projection, dy: &[F], x: &[F], dx: Option<&mut [F]>| {
            let (at, linear) = (projection.index(), self.linear(projection));
            linear.backward(dy, x, &low[at], gradient[at].as_mut(), dx);
        };

        let (mut d_gate, mut d_up) = (gate, up);
        let inner = swiglu::forward(&d_gate, &d_up);
        let mut d_inner = vec![F::ZERO; inner.len()];
        propagate(Projection::Down, &d_output, &inner, Some(&mut d_inner));
        drop(inner);
        swiglu::backward(&d_inner, &mut d_gate, &mut d_up);
        drop(d_inner);
        let normed = rmsnorm::forward(&middle, &self.layer.ffn_norm, self.eps);
        let mut d_normed = vec![F::ZERO; normed.len()];
        propagate(Projection::Gate, &d_gate, &normed, Some(&mut d_normed));
        propagate(Projection::Up, &d_up, &normed, Some(&mut d_normed));
        let mut d_middle = d_output;
        rmsnorm::backward(&d_normed, &middle, &self.layer.ffn_norm, self.eps, &mut d_middle);

        let d = self.attention.head_dim;
        let merged = heads::merge(&attended.out, self.pack, d, None);
        let mut d_merged = vec![F::ZERO; merged.len()];
        propagate(Projection::O, &d_middle, &merged, Some(&mut d_merged));
        let d_out = heads::split(&d_merged, self.pack, d, None);
        let d_qkv = self.attention.backward(&d_out, &qkv, &attended, self.pack);
        let d_q = heads::merge(&d_qkv.q, self.pack, d, Some(self.rotary));
        let d_k = heads::merge(&d_qkv.k, self.pack, d, Some(self.rotary));
        let d_v = heads::merge(&d_qkv.v, self.pack, d, None);
        let normed = rmsnorm::forward(&input, &self.layer.attn_norm, self.eps);
        let mut d_normed = below.then(|| vec![F::ZERO; normed.len()]);
        propagate(Projection::Q, &d_q, &normed, d_normed.as_deref_mut());
        propagate(Projection::K, &d_k, &normed, d_normed.as_deref_mut());
        propagate(Projection::V, &d_v, &normed, d_normed.as_deref_mut());
        let d_normed = d_normed?;
        rmsnorm::backward(&d_normed, &input, &self.layer.attn_norm, self.eps, &mut d_middle);
        Some(d_middle)
    }
}

/// A forward pass that waits for its loss: the responses' log-probs, and what the backward needs.
#[derive(Debug)]
pub(crate) struct Pending<'a, F> {
    pass: Pass<'a, F>,
    saved: Vec<BlockActivations<F>>,
    /// The residual stream after the last block, `[rows, hidden]`.
    last: Vec<F>,
    /// ∂log p/∂(normed hidden state) of every target, `[targets, hidden]`.
    d_logp: Vec<F>,
    /// Summed log-probs of the responses, in the order of packing.
    pub(crate) logps: Vec<f64>,
}

impl<'a, F: Real> Pending<'a, F> {
    pub(crate) fn forward(pass: Pass<'a, F>) -> Self {
        let mut saved = Vec::with_capacity(pass.model.layers.len());
        let last = pass.run(|activations| saved.push(activations));
        let tokens = pass.target_logps(&last, true);
        let logps = pass.by_sequence(&tokens.logps);
        Self { pass, saved, last, d_logp: tokens.gradient, logps }
    }

    /// Adds the adapter's gradients, given ∂L/∂log p of every response.
    pub(crate) fn backward(self, coefficients: &[f64], gradient: &mut Adapter<F>) {
        let mut dx = self.d_last(coefficients);
        for (index, saved) in self.saved.into_iter().enumerate().rev() {
            let block = self.pass.block(index);
            match block.backward(dx, saved, &mut gradient.layers[index], index > 0) {
                Some(below) => dx = below,
                None => return,
            }
        }
    }

    /// ∂L/∂(residual stream after the last block), `[rows, hidden]`.
    fn d_last(&self, coefficients: &[f64]) -> Vec<F> {
        let (pass, width) = (&self.pass, self.pass.model.config.hidden);
        let mut d_hidden = self.d_logp.clone();
        for (row, target) in d_hidden.chunks_exact_mut(width).zip(&pass.pack.targets) {
            let coefficient = F::from_f64(coefficients[target.sequence]);
            row.iter_mut().for_each(|value| *value *= coefficient);
        }
        let gathered = gather(&self.last, pass.pack, width);
        let mut d_gathered = vec![F::ZERO; gathered.len()];
        let (gain, eps) = (&pass.model.final_norm, pass.model.config.norm_eps);
        rmsnorm::backward(&d_hidden, &gathered, gain, eps, &mut d_gathered);
        let mut dx = vec![F::ZERO; self.last.len()];
        // Two targets may share a row (the prompt's last): their gradients add up.
        for (row, target) in d_gathered.chunks_exact(width).zip(&pass.pack.targets) {
            vector::add(&mut dx[target.row * width..][..width], row);
        }
        dx
    }
}
