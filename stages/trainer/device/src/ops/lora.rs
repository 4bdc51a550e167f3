//! The adapter as more terms of a frozen product: y = [x | S] [W | sB]ᵀ with S = x Aᵀ.
//!
//! Matrices that share an input are one W, with their A's stacked to `[rank, in]`: `rank` is the sum of their ranks.

use std::ops::Range;

use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{self, Float, Int};

/// Threads of a block of the kernels that multiply, and of the others.
const THREADS: usize = 128;
const EACH: usize = 256;
/// Rows and columns of S that a block makes, and the shared memory of its warps' sums, as in the kernel.
const DOWN: [usize; 2] = [32, 64];
const DOWN_SHARED: usize = 4 * DOWN[0] * (DOWN[1] + 8) * size_of::<f32>();
/// Columns of the thin and the wide matrix that a block multiplies.
const GRADIENT: [usize; 2] = [64, 128];
/// Rows and columns of dx that a block makes.
const ADD: [usize; 2] = [128, 64];
/// Blocks that keep a large GPU busy, and rows below which a block is not worth its partial sums.
const BUSY: usize = 512;
const FEWEST_ROWS: usize = 256;

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

    fn first(&self) -> Argument {
        self.array.from(self.first)
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
    device.launch("lora_clear", ([(shape.rows * shape.rank).div_ceil(EACH), 1, 1], EACH, 0), &arguments)
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
    device.launch("lora_place", ([(rows * columns).div_ceil(EACH), 1, 1], EACH, 0), &arguments)
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
    let grid = [shape.rank.div_ceil(DOWN[1]), shape.rows.div_ceil(DOWN[0]), 1];
    let arrays = [x.from(shape.width), x.whole(), stack.whole()];
    device.launch("lora_down", (grid, THREADS, DOWN_SHARED), &[&arrays[..], &shape.sizes(stride)].concat())
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
    let grid = [shape.width.div_ceil(ADD[1]), shape.rows.div_ceil(ADD[0]), 1];
    let arrays = [dx.whole(), dx.from(shape.width), stack.whole()];
    device.launch("lora_add_down", (grid, THREADS, 0), &[&arrays[..], &shape.sizes(stride)].concat())
}

/// Partial sums of a gradient of this size: how many shares the rows are in, and the rows of each.
fn shares(rows: usize, wide: usize, thin: usize) -> [usize; 2] {
    let blocks = wide.div_ceil(GRADIENT[1]) * thin.div_ceil(GRADIENT[0]);
    let wanted = BUSY.div_ceil(blocks).min(rows.div_ceil(FEWEST_ROWS)).max(1);
    let share = rows.div_ceil(wanted).next_multiple_of(16);
    [rows.div_ceil(share), share]
}

/// Values that the partial sums of a gradient take: of `wide` x `thin` values, over `rows`.
pub fn partials(rows: usize, wide: usize, thin: usize) -> usize {
    shares(rows, wide, thin)[0] * wide * thin
}

/// dA `[r, width]` += dSᵀ x, from x `[rows, width]` and dS `[rows, r]`. `partials` is overwritten.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The sizes do not fit.
pub fn gradient_a<F: Stored>(
    device: &Device<F>,
    d_a: &mut Array<f32>,
    partials: &mut Array<f32>,
    x: Columns<'_, F>,
    ds: Columns<'_, F>,
) -> Result<(), Error> {
    let steps = [1, x.count];
    gradient(device, (d_a, steps, 1.0), partials, [x, ds])
}

/// dB `[out, r]` += scale · dyᵀ S, from dy `[rows, out]` and S `[rows, r]`. `partials` is overwritten.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// The sizes do not fit.
pub fn gradient_b<F: Stored>(
    device: &Device<F>,
    (d_b, scale): (&mut Array<f32>, f32),
    partials: &mut Array<f32>,
    dy: Columns<'_, F>,
    s: Columns<'_, F>,
) -> Result<(), Error> {
    let steps = [s.count, 1];
    gradient(device, (d_b, steps, scale), partials, [dy, s])
}

/// Adds to a gradient, in which a column of the wide and of the thin matrix is `steps` further.
fn gradient<F: Stored>(
    device: &Device<F>,
    (into, steps, scale): (&mut Array<f32>, [usize; 2], f32),
    partials: &mut Array<f32>,
    [wide, thin]: [Columns<'_, F>; 2],
) -> Result<(), Error> {
    let (rows, count) = (wide.rows, wide.count * thin.count);
    let [shares, share] = shares(rows, wide.count, thin.count);
    assert_eq!(rows, thin.rows, "rows of both");
    assert_eq!(into.len(), count, "a gradient of {} x {}", wide.count, thin.count);
    assert!(partials.len() >= shares * count, "{} values for {shares} x {count}", partials.len());
    let grid = [thin.count.div_ceil(GRADIENT[0]), wide.count.div_ceil(GRADIENT[1]), shares];
    let sizes = [wide.stride, thin.stride, wide.count, thin.count, rows, share].map(int);
    let arrays = [partials.whole(), wide.first(), thin.first()];
    device.launch("lora_gradient", (grid, THREADS, 0), &[&arrays[..], &sizes].concat())?;
    let sizes = [shares, wide.count, thin.count, steps[0], steps[1]].map(int);
    let arguments = [&[into.whole(), partials.whole()][..], &sizes, &[Float(scale)]].concat();
    device.launch("lora_gradient_sum", ([count.div_ceil(EACH), 1, 1], EACH, 0), &arguments)
}
