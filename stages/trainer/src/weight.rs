//! Frozen matrices, in the computation's own type or in a narrower one.
//!
//! bfloat16 takes half the memory, and half the time to be read where reading it is what takes time; a file's quantised blocks
//! take less. Products are computed in the wider type all the same: a block of rows is widened, used, and forgotten.

use std::ops::{Deref, Range};

use half::bf16;

use crate::buffers::{Buffer, Buffers};
use crate::model::Matrix;
use crate::ops::vector::vectorised;
use crate::quantised::Quantised;
use crate::real::Real;

/// Values that are widened at once (4 MB of `f32`): few beside the activations, many beside a product's overhead.
const BLOCK: usize = 1 << 20;

/// How frozen matrices are kept.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// As the computation reads them.
    #[default]
    F32,
    /// Rounded to bfloat16: exact for a checkpoint that is in bfloat16.
    Bf16,
    /// As the file has them: quantised blocks, bfloat16, or `f32`; exact.
    File,
}

/// A frozen matrix `[out, in]`, applied as `y = x Wᵀ`.
#[derive(Clone, Debug, PartialEq)]
pub enum Weight<F> {
    /// In the computation's type.
    Full(Matrix<F>),
    /// In bfloat16.
    Half(Matrix<bf16>),
    /// In blocks.
    Quantised(Quantised),
}

/// Rows of a weight in the computation's type: where they lie, or widened.
#[derive(Debug)]
pub enum Rows<'a, F> {
    /// The weight's own.
    Lent(&'a [F]),
    /// A widened copy.
    Widened(Buffer<F>),
}

impl<F: Real> Weight<F> {
    /// Keeps a matrix as wanted. One whose file is not known is taken to be in the computation's type there.
    pub fn new(matrix: Matrix<F>, storage: Storage) -> Self {
        match storage {
            Storage::F32 | Storage::File => Self::Full(matrix),
            Storage::Bf16 => {
                let data = matrix.data.iter().map(|value| bf16::from_f64(value.to_f64())).collect();
                Self::Half(Matrix { rows: matrix.rows, cols: matrix.cols, data })
            }
        }
    }

    /// Number of rows: the outputs.
    pub fn rows(&self) -> usize {
        match self {
            Self::Full(matrix) => matrix.rows,
            Self::Half(matrix) => matrix.rows,
            Self::Quantised(matrix) => matrix.rows,
        }
    }

    /// Number of columns: the inputs.
    pub fn cols(&self) -> usize {
        match self {
            Self::Full(matrix) => matrix.cols,
            Self::Half(matrix) => matrix.cols,
            Self::Quantised(matrix) => matrix.cols,
        }
    }

    /// The rows, in ranges that are fit to be widened at once; all together where nothing need be.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<F> {
        let rows = self.rows();
        let block = match self {
            Self::Full(_) => rows.max(1),
            Self::Half(_) | Self::Quantised(_) => (BLOCK / self.cols()).max(1),
        };
        (0..rows).step_by(block).map(move |first| first..rows.min(first + block))
    }

    /// Some rows.
    pub fn take(&self, rows: Range<usize>, buffers: &Buffers<F>) -> Rows<'_, F> {
        let cols = self.cols();
        // A width of its own: activations as wide as the matrix are kept, and would keep a block's size each.
        let mut wide = match self {
            Self::Full(matrix) => return Rows::Lent(&matrix.data[rows.start * cols..rows.end * cols]),
            Self::Half(_) | Self::Quantised(_) => buffers.take(1, rows.len() * cols),
        };
        self.widen(rows, &mut wide);
        Rows::Widened(wide)
    }

    /// Copies a row.
    pub fn read(&self, row: usize, into: &mut [F]) {
        self.widen(row..row + 1, into);
    }

    fn widen(&self, rows: Range<usize>, wide: &mut [F]) {
        let at = rows.start * self.cols()..rows.end * self.cols();
        match self {
            Self::Full(matrix) => wide.copy_from_slice(&matrix.data[at]),
            Self::Half(matrix) => widen(&matrix.data[at], wide),
            Self::Quantised(matrix) => matrix.widen(rows, wide),
        }
    }
}

impl<F> Deref for Rows<'_, F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        match self {
            Self::Lent(rows) => rows,
            Self::Widened(rows) => rows,
        }
    }
}

/// The same numbers in the wider type.
pub fn widen<F: Real>(narrow: &[bf16], wide: &mut [F]) {
    vectorised(
        #[inline(always)]
        || widen_here(narrow, wide),
    );
}

/// As [`widen`], for callers that are compiled for the machine's vectors already.
#[inline(always)]
pub(crate) fn widen_here<F: Real>(narrow: &[bf16], wide: &mut [F]) {
    for (wide, narrow) in wide.iter_mut().zip(narrow) {
        *wide = F::from_bf16(*narrow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::linear::Linear;

    /// Multiples of 1/8 below 8: exact in bfloat16, as are the sums of their products in `f32`.
    fn eighths(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13) % 127) as f32 / 8.0 - 7.5).collect()
    }

    #[test]
    fn a_weight_of_several_blocks_multiplies_as_a_whole_one() {
        let (rows, cols) = (2_100, 1_000);
        let matrix = Matrix { rows, cols, data: eighths(rows * cols, 1) };
        let [full, half] = [Storage::F32, Storage::Bf16].map(|storage| Weight::new(matrix.clone(), storage));
        assert_eq!(half.blocks().collect::<Vec<_>>(), [0..1_048, 1_048..2_096, 2_096..2_100]);
        let buffers = Buffers::default();
        let (x, dy) = (eighths(2 * cols, 2), eighths(2 * rows, 3));
        let products = |weight| {
            let linear = Linear { weight, bias: None, lora: None };
            let mut dx = vec![0.0; 2 * cols];
            linear.backward(&dy, (&x, None), None, Some(&mut dx), &buffers);
            (linear.forward(&x, &buffers).0.to_vec(), dx)
        };
        assert_eq!(products(&full), products(&half));
    }

    #[test]
    fn rows_are_read_alike() {
        let matrix = Matrix { rows: 3, cols: 4, data: eighths(12, 1) };
        for storage in [Storage::F32, Storage::Bf16] {
            let weight = Weight::new(matrix.clone(), storage);
            let mut row = [0.0; 4];
            weight.read(1, &mut row);
            assert_eq!(row, matrix.data[4..8]);
            assert_eq!(*weight.take(1..3, &Buffers::default()), matrix.data[4..]);
        }
    }
}
