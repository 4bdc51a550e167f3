//! GGUF's quantised rows as they are stored.

use super::{check, threads};
use crate::array::{Array, Device, Stored};
use crate::error::Error;
use crate::machine::Argument::Int;

const MOST_THREADS: usize = 256;
/// Weights of a thread.
const EACH: usize = 8;

/// A type of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// 32 weights: a scale, signed bytes.
    Q8_0,
    /// 32 weights: a scale, 4-bit values less 8.
    Q4_0,
    /// 32 weights: a scale, a minimum, 4-bit values.
    Q4_1,
    /// 256 weights: a scale, 16 signed sub-scales, 6-bit values less 32.
    Q6K,
}

impl BlockType {
    /// (weights, bytes) of one block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q6K => (256, 210),
        }
    }

    fn kernel(self) -> &'static str {
        match self {
            Self::Q8_0 => "dequantise_q8_0",
            Self::Q4_0 => "dequantise_q4_0",
            Self::Q4_1 => "dequantise_q4_1",
            Self::Q6K => "dequantise_q6_k",
        }
    }
}

/// `rows` rows of n weights, from block number `first` on, into y from value number `to` on, rows `stride` values apart.
///
/// # Errors
/// What the machine says.
///
/// # Panics
/// A row is not whole blocks, or an array is shorter.
pub fn rows<F: Stored>(
    device: &Device<F>,
    (y, to, stride): (&mut Array<F>, usize, usize),
    (kind, blocks, first): (BlockType, &Array<u8>, usize),
    [rows, n]: [usize; 2],
) -> Result<(), Error> {
    let (weights, bytes) = kind.block();
    assert!(n.is_multiple_of(weights), "a row of {n} weights is not blocks of {weights}");
    let (begins, needed) = (first * bytes, rows * n / weights * bytes);
    assert!(begins + needed <= blocks.len(), "{needed} bytes from {begins} of {}", blocks.len());
    check("y", y.len().saturating_sub(to), [rows, n], stride);
    let threads = threads(n / EACH, MOST_THREADS);
    let grid = [rows, n.div_ceil(threads * EACH), 1];
    let arguments = [y.from(to), blocks.from(begins), Int(stride as i32), Int(n as i32)];
    device.launch(kind.kernel(), (grid, threads, 0), &arguments)
}
