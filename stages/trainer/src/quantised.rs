//! Frozen matrices as the blocks that a GGUF file holds, widened when they are used: exact, in a quarter of the memory of
//! `f32` or less.

use std::ops::Range;

use crate::load::quant::GgmlType;
use crate::real::Real;

/// A matrix in rows of whole blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// The blocks' type.
    pub kind: GgmlType,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns: whole blocks.
    pub cols: usize,
    /// The blocks, row after row.
    pub bytes: Vec<u8>,
}

impl Quantised {
    /// The blocks of some rows.
    pub fn blocks(&self, rows: Range<usize>) -> &[u8] {
        let (weights, bytes) = self.kind.block();
        let row = self.cols / weights * bytes;
        &self.bytes[rows.start * row..rows.end * row]
    }

    /// Some rows, widened.
    pub fn widen<F: Real>(&self, rows: Range<usize>, wide: &mut [F]) {
        for (row, wide) in rows.zip(wide.chunks_exact_mut(self.cols)) {
            let values = self.kind.dequantise(self.blocks(row..row + 1));
            wide.iter_mut().zip(values).for_each(|(wide, value)| *wide = F::from_f64(value.into()));
        }
    }
}
