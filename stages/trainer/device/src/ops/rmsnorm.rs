//! RMSNorm: y = g ⊙ x / rms(x), row by row.

use super::{check, check_len, scratch, threads};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{Float, Int};

/// y `[rows, n]` from x `[rows, n]` and the gain g `[n]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn forward<F: Stored>(
    device: &Device<F>,
    (y, y_stride): (&mut Array<F>, usize),
    [x, gain]: [&Array<F>; 2],
    rows: usize,
    eps: f32,
) -> Result<(), Error> {
    let n = gain.len();
    check("y", y.len(), [rows, n], y_stride);
    check_len("x", x.len(), rows * n);
    let sizes = [n, y_stride].map(|size| Int(size as i32));
    let arguments = [&[y.whole(), x.whole(), gain.whole()][..], &sizes, &[Float(eps)]].concat();
    device.launch("rmsnorm_forward", launch(rows, n, 1), &arguments)
}

/// sum = x + delta and y from it, all `[rows, n]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn add_forward<F: Stored>(
    device: &Device<F>,
    sum: &mut Array<F>,
    (y, y_stride): (&mut Array<F>, usize),
    (delta, delta_stride): (&Array<F>, usize),
    [x, gain]: [&Array<F>; 2],
    rows: usize,
    eps: f32,
) -> Result<(), Error> {
    let n = gain.len();
    check("y", y.len(), [rows, n], y_stride);
    check("delta", delta.len(), [rows, n], delta_stride);
    check_len("sum", sum.len(), rows * n);
    check_len("x", x.len(), rows * n);
    let arrays = [sum.whole(), y.whole(), x.whole(), delta.whole(), gain.whole()];
    let sizes = [n, delta_stride, y_stride].map(|size| Int(size as i32));
    let arguments = [&arrays[..], &sizes, &[Float(eps)]].concat();
    device.launch("add_rmsnorm_forward", launch(rows, n, 1), &arguments)
}

/// dx += ∂L/∂x `[rows, n]`; the gain is frozen.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn backward<F: Stored>(
    device: &Device<F>,
    dx: &mut Array<F>,
    (dy, dy_stride): (&Array<F>, usize),
    [x, gain]: [&Array<F>; 2],
    rows: usize,
    eps: f32,
) -> Result<(), Error> {
    let n = gain.len();
    check("dy", dy.len(), [rows, n], dy_stride);
    check_len("dx", dx.len(), rows * n);
    check_len("x", x.len(), rows * n);
    let arrays = [dx.whole(), dy.whole(), x.whole(), gain.whole()];
    let sizes = [n, dy_stride].map(|size| Int(size as i32));
    let arguments = [&arrays[..], &sizes, &[Float(eps)]].concat();
    device.launch("rmsnorm_backward", launch(rows, n, 2), &arguments)
}

/// A block a row, with twice eight values a thread at once, which makes so many sums over it.
fn launch(rows: usize, n: usize, sums: usize) -> ([usize; 3], usize, usize) {
    let threads = threads(n.div_ceil(2 * 8), 512);
    ([rows, 1, 1], threads, sums * scratch(threads))
}
