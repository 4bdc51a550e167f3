//! Projections that share an input, as one frozen matrix, with the adapter as more terms of its product.
//!
//! An input lies as `[rows, in | rank | 1]` with S = x Aᵀ, beside W as `[out, in | rank | bias]` with alpha/r · B ([`Frozen`]).
//! So y = [x|S|1] [W|sB|b]ᵀ is one product, and dy W gives dx and dS. Rows are a multiple of 8 values long; what is left over
//! is zero.

use std::ops::Range;

use obvert_device::machine::{Kind, Product};
use obvert_device::ops::lora::{self, Columns, Wide};
use obvert_device::ops::swiglu;
use obvert_device::{Array, Device, Error, Stored};

use super::frozen::Frozen;
use super::layout::{Layout, Part};
use crate::lora::Adapter;
use crate::model::Layer;
use crate::projection::Projection;

/// One frozen matrix of a block.
#[derive(Debug)]
pub(super) struct Fused<F> {
    weight: Frozen<F>,
    /// A of every projection, one below the other: `[rank, in]`.
    stack: Array<F>,
    layout: Layout,
    /// Where the values of its A's begin among all of an adapter; those of its B's follow.
    first: usize,
}

/// An adapter's values, or their gradient, for one [`Fused`].
#[derive(Debug)]
pub(super) struct Low {
    /// As the stack.
    a: Array<f32>,
    /// `[out, r]` of every projection that has an adapter.
    pub(super) b: Vec<Array<f32>>,
}

/// The input of a product: `[rows, stride]`, with room for the adapter's columns.
#[derive(Debug)]
pub(super) struct Input<F> {
    pub(super) values: Array<F>,
    pub(super) stride: usize,
}

impl<F: Stored> Fused<F> {
    /// A frozen matrix of a block; an adapter's values for it come after so many others.
    pub(super) fn new(device: &Device<F>, layer: &Layer<f32>, layout: Layout, first: usize) -> Result<Self, Error> {
        let weight = Frozen::new(device, layer, &layout)?;
        let stack = device.room("A", layout.rank * layout.inner)?;
        Ok(Self { weight, stack, layout, first })
    }

    /// Room for an input of so many rows. Its own columns are for the caller to write.
    pub(super) fn input(
        &self,
        device: &Device<F>,
        what: &str,
        rows: usize,
        ones: &Array<f32>,
    ) -> Result<Input<F>, Error> {
        let mut values = device.room(what, rows * self.layout.stride())?;
        let own = self.layout.inner + self.layout.rank;
        let rest = Wide { rows, width: own, rank: self.layout.stride() - own, stride: self.layout.stride() };
        if rest.rank > 0 {
            lora::clear(device, &mut values, &rest)?;
        }
        if self.layout.biased {
            lora::place_b(device, &mut values, &rest, (ones, 1.0), 0, 0..1)?;
        }
        Ok(Input { values, stride: self.layout.stride() })
    }

    /// Fills the adapter's columns of an input: with S, or with zeros where the adapter is off.
    pub(super) fn lower(&self, device: &Device<F>, x: &mut Input<F>, rows: usize, adapted: bool) -> Result<(), Error> {
        match (self.layout.rank, adapted) {
            (0, _) => Ok(()),
            (_, true) => lora::down(device, &mut x.values, &self.layout.wide(rows), (&self.stack, self.layout.inner)),
            (_, false) => lora::clear(device, &mut x.values, &self.layout.wide(rows)),
        }
    }

    /// y `[rows, out]` of an input whose columns are all filled.
    pub(super) fn forward(&self, device: &Device<F>, x: &Input<F>, rows: usize) -> Result<Array<F>, Error> {
        let y = device.room("a projection's output", rows * self.layout.out)?;
        let product = |weight: &Array<F>| Product {
            size: [rows, self.layout.out, self.layout.stride()],
            a: x.values.matrix(0, self.layout.stride(), Kind::Real),
            b: weight.matrix(0, self.layout.stride(), Kind::Real).t(),
            c: y.matrix(0, self.layout.out, Kind::Real),
            beta: 0.0,
        };
        self.weight.with(device, |weight| device.multiply(&product(weight)))?;
        Ok(y)
    }

    /// From dy `[rows, out]`: adds to the adapter's gradient, and returns dx as an input lies, where it is wanted.
    pub(super) fn backward(
        &self,
        device: &Device<F>,
        dy: &Array<F>,
        x: &Input<F>,
        gradient: (&mut Low, f32),
        (rows, below): (usize, bool),
    ) -> Result<Option<Input<F>>, Error> {
        let mut dx = self.backward_beside(device, dy, x, gradient, (rows, below))?;
        if let Some(dx) = dx.as_mut().filter(|_| self.layout.rank > 0) {
            lora::add_down(device, &mut dx.values, &self.layout.wide(rows), (&self.stack, self.layout.inner))?;
        }
        Ok(dx)
    }

    /// As [`Fused::backward`], but dS A is not in dx yet: dS lies beside it.
    pub(super) fn backward_beside(
        &self,
        device: &Device<F>,
        dy: &Array<F>,
        x: &Input<F>,
        (gradient, scale): (&mut Low, f32),
        (rows, below): (usize, bool),
    ) -> Result<Option<Input<F>>, Error> {
        if self.layout.rank == 0 && !below {
            return Ok(None);
        }
        let dx = device.room("an input's gradient", rows * self.layout.stride())?;
        // Where nothing below learns only dS is needed.
        let first = if below { 0 } else { self.layout.inner };
        let product = |weight: &Array<F>| Product {
            size: [rows, self.layout.inner + self.layout.rank - first, self.layout.out],
            a: dy.matrix(0, self.layout.out, Kind::Real),
            b: weight.matrix(first, self.layout.stride(), Kind::Real),
            c: dx.matrix(first, self.layout.stride(), Kind::Real),
            beta: 0.0,
        };
        self.weight.with(device, |weight| device.multiply(&product(weight)))?;
        if self.layout.rank > 0 {
            self.add_gradients(device, [dy, &x.values, &dx], (gradient, scale), rows)?;
        }
        Ok(below.then_some(Input { values: dx, stride: self.layout.stride() }))
    }

    /// The backward of SwiGLU, in place, from what [`Fused::backward_beside`] gives of its outputs.
    pub(super) fn swiglu_backward(
        &self,
        device: &Device<F>,
        gate_up: &mut Array<F>,
        dh: &Input<F>,
        rows: usize,
    ) -> Result<(), Error> {
        let inner = self.layout.inner;
        let gate_up = (gate_up, 2 * inner);
        if self.layout.rank == 0 {
            return swiglu::backward(device, gate_up, (&dh.values, dh.stride), [rows, inner]);
        }
        lora::swiglu_backward(device, gate_up, &dh.values, &self.layout.wide(rows), (&self.stack, inner))
    }

    fn add_gradients(
        &self,
        device: &Device<F>,
        [dy, x, dx]: [&Array<F>; 3],
        (gradient, scale): (&mut Low, f32),
        rows: usize,
    ) -> Result<(), Error> {
        let wide = self.layout.wide(rows);
        lora::gradient_a(device, &mut gradient.a, wide.own(x), wide.beside(dx, 0..self.layout.rank))?;
        let mut product = device.room("a gradient before it is added", self.layout.largest_b())?;
        for (part, into) in self.layout.adapted().zip(&mut gradient.b) {
            let dy = Columns::new(dy, rows, self.layout.out, part.rows.clone());
            lora::gradient_b(device, (into, scale), &mut product, dy, wide.beside(x, part.columns.clone()))?;
        }
        Ok(())
    }

    /// Whether an adapter's block has matrices of the sizes that there is room for.
    pub(super) fn has_room_for(&self, adapter: &Adapter<f32>, layer: usize) -> bool {
        let rank =
            |projection: Projection| adapter.layers[layer][projection.index()].as_ref().map_or(0, |low| low.a.rows);
        self.layout.parts.iter().all(|part| part.columns.len() == rank(part.projection))
    }

    /// The number of an adapter's values.
    pub(super) fn values(&self) -> usize {
        self.layout.values()
    }

    /// Its part of all values of an adapter, or of a gradient.
    pub(super) fn low(&self, all: &Array<f32>) -> Low {
        let a = all.part(self.first..self.first + self.layout.rank * self.layout.inner);
        Low { a, b: self.slots().map(|(_, _, b)| all.part(b)).collect() }
    }

    /// Which projections have an adapter, and where among all of its values those of A and B are.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Projection, Range<usize>, Range<usize>)> {
        let (inner, first) = (self.layout.inner, self.first);
        let second = first + self.layout.rank * inner;
        self.layout.adapted().map(move |Part { projection, columns, values, .. }| {
            let a = first + columns.start * inner..first + columns.end * inner;
            (*projection, a, second + values.start..second + values.end)
        })
    }

    /// Writes an adapter's values to where the products read them.
    pub(super) fn place(&mut self, device: &Device<F>, low: &Low, scale: f32) -> Result<(), Error> {
        if self.layout.rank == 0 {
            return Ok(());
        }
        lora::place_a(device, (&mut self.stack, self.layout.inner), (&low.a, self.layout.inner), 0)?;
        self.weight.place(device, low, scale)
    }
}
