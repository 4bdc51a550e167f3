//! The adapter as more terms of a frozen product: y = [x | S] [W | sB]ᵀ with S = x Aᵀ.
//!
//! Matrices that share an input are one W, with their A's stacked to `[rank, in]`: `rank` is the sum of their ranks.

use std::ops::Range;

use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{self, Float, Int};
use crate::machine::{Kind, Operand, Product};

/// Threads of a block.
const THREADS: usize = 256;
/// Rows and columns of dx that a block makes, and the shared memory of its part of A, as in the kernel.
const ADD: [usize; 2] = [128, 64];
const ADD_SHARED: usize = 48 * (ADD[1] + 8);

/// How a matrix lies that has the adapter's columns beside its own: `[rows, width + rank]`, rows `stride` values apart.
#[derive(Clone, Copy, Debug)]
pub struct Wide {
    /// Tokens of an input, outputs of W.
    pub rows: usize,
    /// Its own columns.
    pub width: usize,
    /// The adapter's.
    pub rank: usize,
    /// Between rows; memory is read fastest where it is a multiple of 8.
    pub stride: usize,
}

/// Columns of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a, F> {
    array: &'a Array<F>,
    rows: usize,
    first: usize,
    count: usize,
    stride: usize,
}

impl<'a, F: Stored> Columns<'a, F> {
    /// Some columns of a matrix of `rows` rows that are `stride` values apart.
    ///
    /// # Panics
    /// The array is shorter.
    pub fn new(array: &'a Array<F>, rows: usize, stride: usize, columns: Range<usize>) -> Self {
        assert_fits(array, rows, stride, columns.end);
        Self { array, rows, first: columns.start, count: columns.len(), stride }
    }

    fn operand(&self) -> Operand {
        self.array.matrix(self.first, self.stride, Kind::Real)
    }
}

impl Wide {
    /// Its own columns.
    ///
    /// # Panics
    /// The array is shorter.
    pub fn own<'a, F: Stored>(&self, array: &'a Array<F>) -> Columns<'a, F> {
        Columns::new(array, self.rows, self.stride, 0..self.width)
    }

    /// Some of the adapter's columns.
    ///
    /// # Panics
    /// The array is shorter.
    pub fn beside<'a, F: Stored>(&self, array: &'a Array<F>, columns: Range<usize>) -> Columns<'a, F> {
        Columns::new(array, self.rows, self.stride, self.width + columns.start..self.width + columns.end)
    }

    fn check<F: Stored>(&self, array: &Array<F>) {
        assert_fits(array, self.rows, self.stride, self.width + self.rank);
    }

    /// Blocks, threads and shared memory where dS A is added.
    fn added<F>(&self) -> ([usize; 3], usize, usize) {
        let grid = [self.width.div_ceil(ADD[1]), self.rows.div_ceil(ADD[0]), 1];
        (grid, THREADS, ADD_SHARED * size_of::<F>())
    }

    /// As the kernels take them, with the stride of the stacked A's.
    fn sizes(&self, stack: usize) -> [Argument; 5] {
        [self.stride, stack, self.rows, self.width, self.rank].map(int)
    }
}

fn assert_fits<F: Stored>(array: &Array<F>, rows: usize, stride: usize, columns: usize) {
    let least = rows.saturating_sub(1) * stride + columns;
    assert!(rows > 0 && columns <= stride, "{rows} rows of {columns} values, {stride} apart");
    assert!(array.len() >= least, "{} values are not {rows} rows of {columns}, {stride} apart", array.len());
}

fn int(value: usize) -> Argument {
    Int(value as i32)
}

/// Zeros the adapter's columns of W; once, since [`place_b`] writes over the same ones.
///
/// # Errors
/// What the machine says.
pub fn clear<F: Stored>(device: &Device<F>, w: &mut Array<F>, shape: &Wide) -> Result<(), Error> {
    shape.check(w);
    let arguments = [w.from(shape.width), int(shape.stride), int(shape.rows), int(shape.rank)];
    device.launch("lora_clear", ([(shape.rows * shape.rank).div_ceil(THREADS), 1, 1], THREADS, 0), &arguments)
}

/// Rounds scale · B, B `[_, r]`, into W at rows `row ..` and the adapter's columns `columns`, which are r.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// B does not fit there.
pub fn place_b<F: Stored>(
    device: &Device<F>,
    w: &mut Array<F>,
    shape: &Wide,
    (b, scale): (&Array<f32>, f32),
    row: usize,
    columns: Range<usize>,
) -> Result<(), Error> {
    shape.check(w);
    let (rows, r) = (b.len() / columns.len(), columns.len());
    assert!(row + rows <= shape.rows, "{rows} rows from {row} of {}", shape.rows);
    assert!(columns.end <= shape.rank, "columns {columns:?} of {}", shape.rank);
    let to = w.from(row * shape.stride + shape.width + columns.start);
    place(device, to, b, [shape.stride, rows, r], scale)
}

/// Rounds A `[r, width]` into the stack from row `row` on; the stack's rows are `stride` apart.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// A does not fit there.
pub fn place_a<F: Stored>(
    device: &Device<F>,
    (stack, stride): (&mut Array<F>, usize),
    (a, width): (&Array<f32>, usize),
    row: usize,
) -> Result<(), Error> {
    let rows = a.len() / width;
    assert_fits(stack, row + rows, stride, width);
    place(device, stack.from(row * stride), a, [stride, rows, width], 1.0)
}

fn place<F: Stored>(
    device: &Device<F>,
    to: Argument,
    from: &Array<f32>,
    [stride, rows, columns]: [usize; 3],
    scale: f32,
) -> Result<(), Error> {
    assert_eq!(from.len(), rows * columns, "{rows} x {columns} values");
    let arguments = [to, from.whole(), int(stride), int(rows), int(columns), Float(scale)];
    device.launch("lora_place", ([(rows * columns).div_ceil(THREADS), 1, 1], THREADS, 0), &arguments)
}

/// S = x Aᵀ into the adapter's columns of x, from its own; the stack is `[rank, width]`, its rows `stride` apart.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The arrays are shorter.
pub fn down<F: Stored>(
    device: &Device<F>,
    x: &mut Array<F>,
    shape: &Wide,
    (stack, stride): (&Array<F>, usize),
) -> Result<(), Error> {
    shape.check(x);
    assert_fits(stack, shape.rank, stride, shape.width);
    device.multiply(&Product {
        size: [shape.rows, shape.rank, shape.width],
        a: x.matrix(0, shape.stride, Kind::Real),
        b: stack.matrix(0, stride, Kind::Real).t(),
        c: x.matrix(shape.width, shape.stride, Kind::Real),
        beta: 0.0,
    })
}

/// dx += dS A, with dS in the adapter's columns of dx; the stack is `[rank, width]`, its rows `stride` apart.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The arrays are shorter.
pub fn add_down<F: Stored>(
    device: &Device<F>,
    dx: &mut Array<F>,
    shape: &Wide,
    (stack, stride): (&Array<F>, usize),
) -> Result<(), Error> {
    shape.check(dx);
    assert_fits(stack, shape.rank, stride, shape.width);
    let arrays = [dx.whole(), dx.from(shape.width), stack.whole()];
    device.launch("lora_add_down", shape.added::<F>(), &[&arrays[..], &shape.sizes(stride)].concat())
}

/// The backward of SwiGLU with dh + dS A for the gradient of its outputs, which is not written anywhere: gate and up
/// `[rows, 2 width]` get theirs. As [`add_down`] followed by `swiglu::backward`, without its way through memory.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The arrays are shorter.
pub fn swiglu_backward<F: Stored>(
    device: &Device<F>,
    (gate_up, gate_up_stride): (&mut Array<F>, usize),
    dh: &Array<F>,
    shape: &Wide,
    (stack, stride): (&Array<F>, usize),
) -> Result<(), Error> {
    shape.check(dh);
    assert_fits(gate_up, shape.rows, gate_up_stride, 2 * shape.width);
    assert_fits(stack, shape.rank, stride, shape.width);
    let arrays = [gate_up.whole(), dh.whole(), dh.from(shape.width), stack.whole(), int(gate_up_stride)];
    let arguments = [&arrays[..], &shape.sizes(stride)].concat();
    device.launch("lora_swiglu_backward", shape.added::<F>(), &arguments)
}

/// dA `[r, width]` += dSᵀ x, from x `[rows, width]` and dS `[rows, r]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The sizes do not fit.
pub fn gradient_a<F: Stored>(
    device: &Device<F>,
    d_a: &mut Array<f32>,
    x: Columns<'_, F>,
    ds: Columns<'_, F>,
) -> Result<(), Error> {
    sum_over_rows(device, d_a, [ds, x], 1.0)
}

/// dB `[out, r]` += scale · dyᵀ S, from dy `[rows, out]` and S `[rows, r]`. `product` `[out, r]` is overwritten.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The sizes do not fit.
pub fn gradient_b<F: Stored>(
    device: &Device<F>,
    (d_b, scale): (&mut Array<f32>, f32),
    product: &mut Array<f32>,
    dy: Columns<'_, F>,
    s: Columns<'_, F>,
) -> Result<(), Error> {
    let count = dy.count * s.count;
    assert!(product.len() >= count, "{} values for {count}", product.len());
    sum_over_rows(device, &mut product.part(0..count), [dy, s], 0.0)?;
    assert_eq!(d_b.len(), count, "a gradient of {} x {}", dy.count, s.count);
    let arguments = [d_b.whole(), product.whole(), int(count), Float(scale)];
    device.launch("lora_add_scaled", ([count.div_ceil(THREADS), 1, 1], THREADS, 0), &arguments)
}

/// into `[columns of left, columns of right]` = leftᵀ right + beta into.
fn sum_over_rows<F: Stored>(
    device: &Device<F>,
    into: &mut Array<f32>,
    [left, right]: [Columns<'_, F>; 2],
    beta: f32,
) -> Result<(), Error> {
    assert_eq!(left.rows, right.rows, "rows of both");
    assert_eq!(into.len(), left.count * right.count, "a gradient of {} x {}", left.count, right.count);
    device.multiply(&Product {
        size: [left.count, right.count, left.rows],
        a: left.operand().t(),
        b: right.operand(),
        c: into.matrix(0, right.count, Kind::Float),
        beta,
    })
}
