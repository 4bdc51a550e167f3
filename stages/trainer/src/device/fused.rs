//! Projections that share an input, as one frozen matrix, with the adapter as more terms of its product.
//!
//! An input lies as `[rows, in | rank | 1]` with S = x Aᵀ, beside W as `[out, in | rank | bias]` with alpha/r · B ([`Frozen`]).
//! So y = [x|S|1] [W|sB|b]ᵀ is one product, and dy W gives dx and dS. Rows are a multiple of 8 values long; what is left over
//! is zero.

use std::ops::Range;

use obvert_device::machine::{Kind, Product};
use obvert_device::ops::lora::{self, Columns, Wide};
use obvert_device::{Array, Device, Error, Stored};

use super::frozen::Frozen;
use crate::lora::Adapter;
use crate::model::Layer;
use crate::projection::Projection;

/// One frozen matrix of a block.
#[derive(Debug)]
pub(super) struct Fused<F> {
    weight: Frozen<F>,
    /// A of every projection, one below the other: `[rank, in]`.
    stack: Array<F>,
    parts: Vec<Part>,
    out: usize,
    inner: usize,
    rank: usize,
    stride: usize,
    biased: bool,
    /// Where the values of its A's begin among all of an adapter; those of its B's follow.
    first: usize,
}

/// A projection's place in the matrix.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) projection: Projection,
    /// Its outputs.
    pub(super) rows: Range<usize>,
    /// Its adapter's columns; none without an adapter.
    pub(super) columns: Range<usize>,
    /// The values of its B, among those of the matrix's B's.
    values: Range<usize>,
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
    /// The projections of a block, beside which an adapter of this rank for each of `targets` will lie.
    pub(super) fn new(
        device: &Device<F>,
        layer: &Layer<f32>,
        projections: &[Projection],
        (rank, targets): (usize, &[Projection]),
        first: usize,
    ) -> Result<Self, Error> {
        let (mut parts, mut out, mut columns, mut values) = (Vec::new(), 0, 0, 0);
        for projection in projections {
            let rows = layer.weight(*projection).rows();
            let width = if targets.contains(projection) { rank } else { 0 };
            let (taken, adapted) = (columns..columns + width, values..values + rows * width);
            (columns, values) = (taken.end, adapted.end);
            parts.push(Part { projection: *projection, rows: out..out + rows, columns: taken, values: adapted });
            out += rows;
        }
        let inner = layer.weight(projections[0]).cols();
        let biased = projections.iter().any(|projection| layer.bias(*projection).is_some());
        let stride = (inner + columns + usize::from(biased)).next_multiple_of(8);
        let weight = Frozen::new(device, layer, &parts, Wide { rows: out, width: inner, rank: columns, stride })?;
        let stack = device.room("A", columns * inner)?;
        Ok(Self { weight, stack, parts, out, inner, rank: columns, stride, biased, first })
    }

    /// How an input lies in memory.
    fn wide(&self, rows: usize) -> Wide {
        Wide { rows, width: self.inner, rank: self.rank, stride: self.stride }
    }

    /// Room for an input of so many rows. Its own columns are for the caller to write.
    pub(super) fn input(
        &self,
        device: &Device<F>,
        what: &str,
        rows: usize,
        ones: &Array<f32>,
    ) -> Result<Input<F>, Error> {
        let mut values = device.room(what, rows * self.stride)?;
        let own = self.inner + self.rank;
        let rest = Wide { rows, width: own, rank: self.stride - own, stride: self.stride };
        if rest.rank > 0 {
            lora::clear(device, &mut values, &rest)?;
        }
        if self.biased {
            lora::place_b(device, &mut values, &rest, (ones, 1.0), 0, 0..1)?;
        }
        Ok(Input { values, stride: self.stride })
    }

    /// Fills the adapter's columns of an input: with S, or with zeros where the adapter is off.
    pub(super) fn lower(&self, device: &Device<F>, x: &mut Input<F>, rows: usize, adapted: bool) -> Result<(), Error> {
        match (self.rank, adapted) {
            (0, _) => Ok(()),
            (_, true) => lora::down(device, &mut x.values, &self.wide(rows), (&self.stack, self.inner)),
            (_, false) => lora::clear(device, &mut x.values, &self.wide(rows)),
        }
    }

    /// y `[rows, out]` of an input whose columns are all filled.
    pub(super) fn forward(&self, device: &Device<F>, x: &Input<F>, rows: usize) -> Result<Array<F>, Error> {
        let y = device.room("a projection's output", rows * self.out)?;
        let product = |weight: &Array<F>| Product {
            size: [rows, self.out, self.stride],
            a: x.values.matrix(0, self.stride, Kind::Real),
            b: weight.matrix(0, self.stride, Kind::Real).t(),
            c: y.matrix(0, self.out, Kind::Real),
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
        (gradient, scale): (&mut Low, f32),
        (rows, below): (usize, bool),
    ) -> Result<Option<Input<F>>, Error> {
        if self.rank == 0 && !below {
            return Ok(None);
        }
        let mut dx = device.room("an input's gradient", rows * self.stride)?;
        // Where nothing below learns only dS is needed.
        let first = if below { 0 } else { self.inner };
        let product = |weight: &Array<F>| Product {
            size: [rows, self.inner + self.rank - first, self.out],
            a: dy.matrix(0, self.out, Kind::Real),
            b: weight.matrix(first, self.stride, Kind::Real),
            c: dx.matrix(first, self.stride, Kind::Real),
            beta: 0.0,
        };
        self.weight.with(device, |weight| device.multiply(&product(weight)))?;
        if self.rank > 0 {
            self.add_gradients(device, [dy, &x.values, &dx], (gradient, scale), rows)?;
            if below {
                lora::add_down(device, &mut dx, &self.wide(rows), (&self.stack, self.inner))?;
            }
        }
        Ok(below.then_some(Input { values: dx, stride: self.stride }))
    }

    fn add_gradients(
        &self,
        device: &Device<F>,
        [dy, x, dx]: [&Array<F>; 3],
        (gradient, scale): (&mut Low, f32),
        rows: usize,
    ) -> Result<(), Error> {
        let wide = self.wide(rows);
        let sizes = self.adapted().map(|part| lora::partials(rows, part.rows.len(), part.columns.len()));
        let most = sizes.chain([lora::partials(rows, self.inner, self.rank)]).max().unwrap_or_default();
        let mut partials = device.room("partial sums of a gradient", most)?;
        lora::gradient_a(device, &mut gradient.a, &mut partials, wide.own(x), wide.beside(dx, 0..self.rank))?;
        for (part, into) in self.adapted().zip(&mut gradient.b) {
            let dy = Columns::new(dy, rows, self.out, part.rows.clone());
            lora::gradient_b(device, (into, scale), &mut partials, dy, wide.beside(x, part.columns.clone()))?;
        }
        Ok(())
    }

    /// Whether an adapter's block has matrices of the sizes that there is room for.
    pub(super) fn has_room_for(&self, adapter: &Adapter<f32>, layer: usize) -> bool {
        let rank =
            |projection: Projection| adapter.layers[layer][projection.index()].as_ref().map_or(0, |low| low.a.rows);
        self.parts.iter().all(|part| part.columns.len() == rank(part.projection))
    }

    /// The number of an adapter's values.
    pub(super) fn values(&self) -> usize {
        self.rank * self.inner + self.parts.last().map_or(0, |part| part.values.end)
    }

    /// Its part of all values of an adapter, or of a gradient.
    pub(super) fn low(&self, all: &Array<f32>) -> Low {
        let a = all.part(self.first..self.first + self.rank * self.inner);
        Low { a, b: self.slots().map(|(_, _, b)| all.part(b)).collect() }
    }

    /// Which projections have an adapter, and where among all of its values those of A and B are.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Projection, Range<usize>, Range<usize>)> {
        let (inner, first) = (self.inner, self.first);
        let second = first + self.rank * inner;
        self.adapted().map(move |Part { projection, columns, values, .. }| {
            let a = first + columns.start * inner..first + columns.end * inner;
            (*projection, a, second + values.start..second + values.end)
        })
    }

    fn adapted(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| !part.columns.is_empty())
    }

    /// Writes an adapter's values to where the products read them.
    pub(super) fn place(&mut self, device: &Device<F>, low: &Low, scale: f32) -> Result<(), Error> {
        if self.rank == 0 {
            return Ok(());
        }
        lora::place_a(device, (&mut self.stack, self.inner), (&low.a, self.inner), 0)?;
        self.weight.place(device, &self.parts, low, scale)
    }
}
