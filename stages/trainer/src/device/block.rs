//! One block on the device, forward and backward.
//!
//! Between blocks the residual stream is a sum that is not added up yet: what came in, and what the block adds. The next
//! norm adds them on its way. Norms, SwiGLU and S are cheap, and computed again in the backward.

use std::sync::Arc;

use obvert_device::ops::attention::{Attention, Saved};
use obvert_device::ops::rope::{self, Heads, Turn};
use obvert_device::ops::{rmsnorm, swiglu};
use obvert_device::{Array, Device, Error, Stored};

use super::batch::Packed;
use super::fused::{Fused, Input, Low};
use super::layout::Layout;
use crate::config::Config;
use crate::model::Layer;
use crate::projection::Projection::{self, Down, Gate, K, O, Q, Up, V};

/// The projections of a block that share an input.
const GROUPS: [&[Projection]; 4] = [&[Q, K, V], &[O], &[Gate, Up], &[Down]];

/// The matrices of every block, for an adapter of this rank on `targets`.
pub(super) fn layouts(config: &Config, adapter: (usize, &[Projection])) -> [Layout; 4] {
    GROUPS.map(|projections| Layout::new(config, projections, adapter))
}

/// A block's frozen weights.
#[derive(Debug)]
pub(super) struct Block<F> {
    attn_norm: Array<F>,
    ffn_norm: Array<F>,
    /// In the order of [`layouts`].
    pub(super) fused: [Fused<F>; 4],
}

/// The residual stream `[rows, hidden]`: the sum of both.
#[derive(Debug)]
pub(super) struct Stream<F> {
    pub(super) sum: Arc<Array<F>>,
    pub(super) more: Option<Array<F>>,
}

/// What the backward of a block reads.
#[derive(Debug)]
pub(super) struct Kept<F> {
    /// The residual stream before the block, and between attention and feed-forward, `[rows, hidden]`.
    pub(super) input: Arc<Array<F>>,
    middle: Arc<Array<F>>,
    /// `[rows, (heads + 2 kv_heads) d]`.
    qkv: Array<F>,
    /// What attention gives, as O's input, with S.
    attended: Input<F>,
    /// `[heads, rows]`.
    lse: Array<f32>,
    /// `[rows, 2 ffn]`.
    gate_up: Array<F>,
}

/// What all blocks of a pass share.
#[derive(Debug)]
pub(super) struct Shared<'a, F> {
    pub(super) device: &'a Device<F>,
    pub(super) config: &'a Config,
    pub(super) batch: &'a Packed,
    /// alpha/r; nothing where the adapter is off.
    pub(super) scale: Option<f32>,
}

impl<F: Stored> Shared<'_, F> {
    fn attention(&self) -> Attention<'_> {
        let Config { heads, kv_heads, head_dim, .. } = *self.config;
        Attention { heads, kv_heads, head_dim, sight: &self.batch.sight }
    }

    /// Values of a row of q, k and v.
    fn width(&self) -> usize {
        (self.config.heads + 2 * self.config.kv_heads) * self.config.head_dim
    }

    pub(super) fn eps(&self) -> f32 {
        self.config.norm_eps as f32
    }

    /// Turns q and k, which lie side by side.
    fn turn(&self, qkv: &mut Array<F>, turn: Turn) -> Result<(), Error> {
        let Config { heads, kv_heads, head_dim: d, .. } = *self.config;
        let heads = Heads { rows: self.batch.rows, stride: self.width(), first: 0, heads: heads + kv_heads, d };
        rope::turn(self.device, qkv, heads, self.batch.angles.each_ref(), &self.batch.positions, turn)
    }

    /// The residual stream, and its norm as the input of a matrix.
    fn normed(
        &self,
        stream: Stream<F>,
        (gain, matrix): (&Array<F>, &Fused<F>),
    ) -> Result<(Arc<Array<F>>, Input<F>), Error> {
        let (device, rows) = (self.device, self.batch.rows);
        let mut normed = matrix.input(device, "a norm", rows, &self.batch.ones)?;
        let y = (&mut normed.values, normed.stride);
        let sum = match stream.more {
            None => {
                rmsnorm::forward(device, y, [&stream.sum, gain], rows, self.eps())?;
                stream.sum
            }
            Some(more) => {
                let mut sum = device.room("the residual stream", more.len())?;
                let delta = (&more, self.config.hidden);
                rmsnorm::add_forward(device, &mut sum, y, delta, [&stream.sum, gain], rows, self.eps())?;
                Arc::new(sum)
            }
        };
        matrix.lower(device, &mut normed, rows, self.scale.is_some())?;
        Ok((sum, normed))
    }

    /// SwiGLU as the input of a matrix.
    fn activated(&self, gate_up: &Array<F>, matrix: &Fused<F>) -> Result<Input<F>, Error> {
        let (device, rows, ffn) = (self.device, self.batch.rows, self.config.ffn);
        let mut inner = matrix.input(device, "what SwiGLU gives", rows, &self.batch.ones)?;
        swiglu::forward(device, (&mut inner.values, inner.stride), (gate_up, 2 * ffn), [rows, ffn])?;
        matrix.lower(device, &mut inner, rows, self.scale.is_some())?;
        Ok(inner)
    }
}

impl<F: Stored> Block<F> {
    /// An adapter has so many values in blocks before this one.
    pub(super) fn new(
        device: &Device<F>,
        layer: &Layer<f32>,
        layouts: &[Layout; 4],
        mut values_before: usize,
    ) -> Result<Self, Error> {
        let mut fused = |at: usize| -> Result<Fused<F>, Error> {
            let fused = Fused::new(device, layer, layouts[at].clone(), values_before)?;
            values_before += fused.values();
            Ok(fused)
        };
        Ok(Self {
            attn_norm: device.store("a norm", &layer.attn_norm)?,
            ffn_norm: device.store("a norm", &layer.ffn_norm)?,
            fused: [fused(0)?, fused(1)?, fused(2)?, fused(3)?],
        })
    }

    /// The residual stream after the block.
    pub(super) fn forward(&self, shared: &Shared<'_, F>, stream: Stream<F>) -> Result<(Stream<F>, Kept<F>), Error> {
        let (kept, [.., down]) = (self.keep(shared, stream)?, &self.fused);
        let inner = shared.activated(&kept.gate_up, down)?;
        let more = Some(down.forward(shared.device, &inner, shared.batch.rows)?);
        Ok((Stream { sum: Arc::clone(&kept.middle), more }, kept))
    }

    /// What the backward reads: all of the forward but its last product.
    pub(super) fn keep(&self, shared: &Shared<'_, F>, stream: Stream<F>) -> Result<Kept<F>, Error> {
        let Shared { device, config, batch, .. } = *shared;
        let ([to_qkv, o, to_gate_up, _], rows) = (&self.fused, batch.rows);
        let (input, normed) = shared.normed(stream, (&self.attn_norm, to_qkv))?;
        let mut qkv = to_qkv.forward(device, &normed, rows)?;
        drop(normed);
        shared.turn(&mut qkv, Turn::Forward)?;
        let mut attended = o.input(device, "what attention gives", rows, &batch.ones)?;
        let mut lse = device.room("sums of attention", rows * config.heads)?;
        let out = (&mut attended.values, attended.stride);
        shared.attention().forward(device, out, &mut lse, (&qkv, shared.width()))?;
        o.lower(device, &mut attended, rows, shared.scale.is_some())?;
        let stream = Stream { sum: Arc::clone(&input), more: Some(o.forward(device, &attended, rows)?) };
        let (middle, normed) = shared.normed(stream, (&self.ffn_norm, to_gate_up))?;
        let gate_up = to_gate_up.forward(device, &normed, rows)?;
        Ok(Kept { input, middle, qkv, attended, lse, gate_up })
    }

    /// From ∂L/∂(residual stream after the block) to that before it, in place; adds to the adapter's gradient. Where nothing
    /// below learns the residual stream's gradient is of no use afterwards.
    pub(super) fn backward(
        &self,
        shared: &Shared<'_, F>,
        d: &mut Array<F>,
        kept: Kept<F>,
        (gradient, below): (&mut [Low; 4], bool),
    ) -> Result<(), Error> {
        let Kept { input, middle, qkv, attended, lse, mut gate_up } = kept;
        let [to_qkv, o, to_gate_up, down] = &self.fused;
        let [d_to_qkv, d_o, d_to_gate_up, d_down] = gradient;
        let (device, rows, scale) = (shared.device, shared.batch.rows, shared.scale.unwrap_or_default());

        let inner = shared.activated(&gate_up, down)?;
        let d_inner = down.backward_beside(device, d, &inner, (d_down, scale), (rows, true))?;
        drop(inner);
        if let Some(d_inner) = d_inner {
            down.swiglu_backward(device, &mut gate_up, &d_inner, rows)?;
        }
        let stream = Stream { sum: middle, more: None };
        let (middle, normed) = shared.normed(stream, (&self.ffn_norm, to_gate_up))?;
        let d_normed = to_gate_up.backward(device, &gate_up, &normed, (d_to_gate_up, scale), (rows, true))?;
        drop((normed, gate_up));
        self.add_norm(shared, d, d_normed, [&middle, &self.ffn_norm])?;

        let Some(d_attended) = o.backward(device, d, &attended, (d_o, scale), (rows, true))? else { return Ok(()) };
        let d_qkv = shared.d_qkv(&d_attended, &qkv, &attended, &lse)?;
        drop((d_attended, attended));
        let (input, normed) = shared.normed(Stream { sum: input, more: None }, (&self.attn_norm, to_qkv))?;
        let d_normed = to_qkv.backward(device, &d_qkv, &normed, (d_to_qkv, scale), (rows, below))?;
        self.add_norm(shared, d, d_normed, [&input, &self.attn_norm])
    }

    /// Adds a norm's share of a gradient, where there is one.
    fn add_norm(
        &self,
        shared: &Shared<'_, F>,
        d: &mut Array<F>,
        d_normed: Option<Input<F>>,
        read: [&Array<F>; 2],
    ) -> Result<(), Error> {
        let Some(Input { values, stride }) = d_normed else { return Ok(()) };
        rmsnorm::backward(shared.device, d, (&values, stride), read, shared.batch.rows, shared.eps())
    }
}

impl<F: Stored> Shared<'_, F> {
    fn d_qkv(
        &self,
        d_attended: &Input<F>,
        qkv: &Array<F>,
        attended: &Input<F>,
        lse: &Array<f32>,
    ) -> Result<Array<F>, Error> {
        let (device, width) = (self.device, self.width());
        let mut d_qkv = device.room("the gradient of q, k and v", qkv.len())?;
        let mut delta = device.room("sums of attention", lse.len())?;
        let saved = Saved {
            qkv: (qkv, width),
            out: (&attended.values, attended.stride),
            d_out: (&d_attended.values, d_attended.stride),
            lse,
        };
        self.attention().backward(device, (&mut d_qkv, width), &mut delta, &saved)?;
        self.turn(&mut d_qkv, Turn::Backward)?;
        Ok(d_qkv)
    }
}
