//! Rotary position embedding, in place: the values i and i + d/2 of a head are turned by the angle of its position.

use super::{check, check_len, threads};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{Float, Int};

/// Heads that lie side by side in every row of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Rows.
    pub rows: usize,
    /// Values between two rows.
    pub stride: usize,
    /// Where the first head begins in row 0.
    pub first: usize,
    /// Heads of a row.
    pub heads: usize,
    /// Values of a head, an even number.
    pub d: usize,
}

/// Which way heads are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The embedding.
    Forward,
    /// Its transpose, hence its backward.
    Backward,
}

/// Turns heads of x by the angles of `positions` `[rows]`, whose cosines and sines are tables `[positions, d/2]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn turn<F: Stored>(
    device: &Device<F>,
    x: &mut Array<F>,
    Heads { rows, stride, first, heads, d }: Heads,
    [cos, sin]: [&Array<f32>; 2],
    positions: &Array<i32>,
    turn: Turn,
) -> Result<(), Error> {
    assert!(d % 2 == 0 && cos.len() == sin.len(), "d {d}, {} cosines, {} sines", cos.len(), sin.len());
    check("x", x.len().saturating_sub(first), [rows, heads * d], stride);
    check_len("positions", positions.len(), rows);
    let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
    let sizes = [stride, heads, d].map(|size| Int(size as i32));
    let tables = [x.from(first), cos.whole(), sin.whole(), positions.whole()];
    let arguments = [&tables[..], &sizes, &[Float(sign)]].concat();
    device.launch("rope", ([rows, 1, 1], threads(heads * d / 16, 256), 0), &arguments)
}
