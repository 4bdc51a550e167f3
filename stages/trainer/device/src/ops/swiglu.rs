//! SwiGLU: h = silu(g) ⊙ u, where a row holds the gate g and then u.

use super::{check, threads};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::Int;

/// h `[rows, f]` from gate and up `[rows, 2f]`.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn forward<F: Stored>(
    device: &Device<F>,
    (h, h_stride): (&mut Array<F>, usize),
    (gate_up, gate_up_stride): (&Array<F>, usize),
    [rows, f]: [usize; 2],
) -> Result<(), Error> {
    check("h", h.len(), [rows, f], h_stride);
    check("gate and up", gate_up.len(), [rows, 2 * f], gate_up_stride);
    let sizes = [f, h_stride, gate_up_stride].map(|size| Int(size as i32));
    let arguments = [&[h.whole(), gate_up.whole()][..], &sizes].concat();
    device.launch("swiglu_forward", launch(rows, f), &arguments)
}

/// From ∂L/∂h `[rows, f]` to those of gate and up, written over them.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// An array is too short.
pub fn backward<F: Stored>(
    device: &Device<F>,
    (gate_up, gate_up_stride): (&mut Array<F>, usize),
    (dh, dh_stride): (&Array<F>, usize),
    [rows, f]: [usize; 2],
) -> Result<(), Error> {
    check("gate and up", gate_up.len(), [rows, 2 * f], gate_up_stride);
    check("dh", dh.len(), [rows, f], dh_stride);
    let sizes = [f, gate_up_stride, dh_stride].map(|size| Int(size as i32));
    let arguments = [&[gate_up.whole(), dh.whole()][..], &sizes].concat();
    device.launch("swiglu_backward", launch(rows, f), &arguments)
}

/// Eight values a thread.
fn launch(rows: usize, f: usize) -> ([usize; 3], usize, usize) {
    let threads = threads(f.div_ceil(8), 256);
    ([rows, f.div_ceil(8 * threads), 1], threads, 0)
}
