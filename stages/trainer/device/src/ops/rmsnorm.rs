//! RMSNorm: y = g ⊙ x / rms(x), row by row.

use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::{Float, Int};

const THREADS: usize = 256;
/// A float for every warp.
const SHARED: usize = THREADS / 32 * size_of::<f32>();

/// y `[rows, n]` from x `[rows, n]` and the gain g `[n]`.
///
/// # Errors
/// What the machine says.
pub fn forward<F: Stored>(
    device: &Device<F>,
    y: &mut Array<F>,
    x: &Array<F>,
    gain: &Array<F>,
    eps: f32,
) -> Result<(), Error> {
    let (rows, n) = (x.len() / gain.len(), gain.len());
    let arguments = [y.whole(), x.whole(), gain.whole(), Int(n as i32), Float(eps)];
    device.launch("rmsnorm_forward", ([rows, 1, 1], THREADS, SHARED), &arguments)
}

/// dx += ∂L/∂x `[rows, n]`; the gain is frozen.
///
/// # Errors
/// What the machine says.
pub fn backward<F: Stored>(
    device: &Device<F>,
    dx: &mut Array<F>,
    [dy, x, gain]: [&Array<F>; 3],
    eps: f32,
) -> Result<(), Error> {
    let (rows, n) = (x.len() / gain.len(), gain.len());
    let arguments = [dx.whole(), dy.whole(), x.whole(), gain.whole(), Int(n as i32), Float(eps)];
    device.launch("rmsnorm_backward", ([rows, 1, 1], THREADS, SHARED), &arguments)
}
