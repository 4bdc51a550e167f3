//! A frozen linear layer with a low-rank adapter: y = x Wᵀ + b + c·(x Aᵀ) Bᵀ.
//!
//! Shapes: x `[rows, in]`, W `[out, in]`, b `[out]`, A `[r, in]`, B `[out, r]`, y `[rows, out]`, c = alpha/r.
//! With s = x Aᵀ and ds = c·dy B:
//! dx = dy W + ds A, dA = dsᵀ x, dB = c·dyᵀ s. W and b are frozen and get no gradient.

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::product::{Threads::Pool, View, ViewMut, Write, multiply};
use super::vector::add;
use crate::buffers::{Buffer, Buffers};
use crate::lora::LowRank;
use crate::real::Real;
use crate::weight::Weight;

/// A layer's weights, with the adapter it is used with.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a, F> {
    /// W.
    pub weight: &'a Weight<F>,
    /// b.
    pub bias: Option<&'a [F]>,
    /// A and B, with c.
    pub lora: Option<(&'a LowRank<F>, F)>,
}

impl<F: Real> Linear<'_, F> {
    /// y, and with an adapter s = x Aᵀ `[rows, r]`, which the backward needs.
    pub fn forward(&self, x: &[F], buffers: &Buffers<F>) -> (Buffer<F>, Option<Buffer<F>>) {
        let (out, inner) = (self.weight.rows(), self.weight.cols());
        let rows = x.len() / inner;
        let mut y = buffers.take(rows, out);
        let x = View::new(x, rows, inner);
        for block in self.weight.blocks() {
            let weight = self.weight.take(block.clone(), buffers);
            let part = ViewMut::strided(&mut y[block.start..], rows, block.len(), out);
            multiply(part, Write::Replace, F::ONE, x, View::new(&weight, block.len(), inner).t(), Pool);
        }
        self.add_bias(&mut y);
        let Some((lora, scale)) = self.lora else {
            return (y, None);
        };
        let rank = lora.a.rows;
        let mut s = buffers.take(rows, rank);
        multiply(ViewMut::new(&mut s, rows, rank), Write::Replace, F::ONE, x, View::from(&lora.a).t(), Pool);
        let down = View::new(&s, rows, rank);
        multiply(ViewMut::new(&mut y, rows, out), Write::Add, scale, down, View::from(&lora.b).t(), Pool);
        (y, Some(s))
    }

    /// Adds dA and dB to `gradient`, and the layer's share of ∂L/∂x to `dx` where that is wanted.
    pub fn backward(
        &self,
        dy: &[F],
        (x, s): (&[F], Option<&[F]>),
        gradient: Option<&mut LowRank<F>>,
        dx: Option<&mut [F]>,
        buffers: &Buffers<F>,
    ) {
        let (out, inner) = (self.weight.rows(), self.weight.cols());
        let rows = dy.len() / out;
        let upstream = dy;
        let (dy, x) = (View::new(dy, rows, out), View::new(x, rows, inner));
        let ds = self.lora.map(|(lora, scale)| {
            let rank = lora.a.rows;
            let mut ds = buffers.take(rows, rank);
            multiply(ViewMut::new(&mut ds, rows, rank), Write::Replace, scale, dy, (&lora.b).into(), Pool);
            (lora, scale, ds)
        });
        if let (Some((lora, scale, ds)), Some(s), Some(gradient)) = (&ds, s, gradient) {
            let rank = lora.a.rows;
            let (s, ds) = (View::new(s, rows, rank), View::new(ds, rows, rank));
            multiply(ViewMut::new(&mut gradient.a.data, rank, inner), Write::Add, F::ONE, ds.t(), x, Pool);
            multiply(ViewMut::new(&mut gradient.b.data, out, rank), Write::Add, *scale, dy.t(), s, Pool);
        }
        let Some(dx) = dx else { return };
        for block in self.weight.blocks() {
            let weight = self.weight.take(block.clone(), buffers);
            let dy = View::strided(&upstream[block.start..], rows, block.len(), out);
            multiply(
                ViewMut::new(dx, rows, inner),
                Write::Add,
                F::ONE,
                dy,
                View::new(&weight, block.len(), inner),
                Pool,
            );
        }
        if let Some((lora, _, ds)) = &ds {
            let ds = View::new(ds, rows, lora.a.rows);
            multiply(ViewMut::new(dx, rows, inner), Write::Add, F::ONE, ds, (&lora.a).into(), Pool);
        }
    }

    fn add_bias(&self, y: &mut [F]) {
        let Some(bias) = self.bias else { return };
        y.par_chunks_mut(bias.len() * ROWS_PER_TASK)
            .for_each(|rows| rows.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias)));
    }
}
