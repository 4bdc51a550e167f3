//! Rows picked from a table, and their gradients put back.

use super::{check, check_len, threads};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::Int;

/// out `[count, width]`: the rows of a table that `indices` `[count]` name.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn gather<F: Stored>(
    device: &Device<F>,
    out: &mut Array<F>,
    (table, stride): (&Array<F>, usize),
    indices: &Array<i32>,
    [count, width]: [usize; 2],
) -> Result<(), Error> {
    check_len("out", out.len(), count * width);
    check("table", table.len(), [1, width], stride);
    check_len("indices", indices.len(), count);
    let sizes = [width, stride].map(|size| Int(size as i32));
    let arguments = [&[out.whole(), table.whole(), indices.whole()][..], &sizes].concat();
    device.launch("gather_rows", launch(count, width), &arguments)
}

/// Which targets each row predicts, and what their gradients are worth.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Where each row's targets begin in `order`, and where the last one's end: `[rows + 1]`.
    pub first: &'a Array<i32>,
    /// The targets, row by row.
    pub order: &'a Array<i32>,
    /// The sequence of each target.
    pub sequences: &'a Array<i32>,
    /// What the gradients of each sequence are multiplied by.
    pub coefficients: &'a Array<f32>,
}

/// dx `[rows, width]`: each row is the sum over its targets of coefficient times row of `d_gathered` `[targets, width]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn scatter<F: Stored>(
    device: &Device<F>,
    dx: &mut Array<F>,
    d_gathered: &Array<F>,
    targets: Targets<'_>,
    [rows, width]: [usize; 2],
) -> Result<(), Error> {
    let Targets { first, order, sequences, coefficients } = targets;
    check_len("dx", dx.len(), rows * width);
    check_len("first", first.len(), rows + 1);
    let lists = [first.whole(), order.whole(), sequences.whole(), coefficients.whole()];
    let arguments = [&[dx.whole(), d_gathered.whole()][..], &lists, &[Int(width as i32)]].concat();
    device.launch("scatter_rows", launch(rows, width), &arguments)
}

/// A block a row, with eight values a thread and more where rows are long.
fn launch(rows: usize, width: usize) -> ([usize; 3], usize, usize) {
    ([rows, 1, 1], threads(width.div_ceil(8), 256), 0)
}
