//! The right factor of a product: rows of a weight, as they are stored.

use half::bf16;

use crate::model::Matrix;
use crate::quantised::Quantised;
use crate::weight::{Weight, widen_here};

/// W `[out, in]`, or some of its rows.
#[derive(Clone, Copy)]
pub(super) struct Factor<'a> {
    values: Values<'a>,
    inner: usize,
}

#[derive(Clone, Copy)]
enum Values<'a> {
    Full(&'a [f32]),
    Half(&'a [bf16]),
    /// Of a matrix, the first row and the one after the last.
    Quantised(&'a Quantised, [usize; 2]),
}

impl<'a> From<&'a Matrix<f32>> for Factor<'a> {
    fn from(matrix: &'a Matrix<f32>) -> Self {
        Self { values: Values::Full(&matrix.data), inner: matrix.cols }
    }
}

impl<'a> From<&'a Weight<f32>> for Factor<'a> {
    fn from(weight: &'a Weight<f32>) -> Self {
        match weight {
            Weight::Full(matrix) => matrix.into(),
            Weight::Half(matrix) => Self { values: Values::Half(&matrix.data), inner: matrix.cols },
            Weight::Quantised(matrix) => {
                Self { values: Values::Quantised(matrix, [0, matrix.rows]), inner: matrix.cols }
            }
        }
    }
}

impl<'a> Factor<'a> {
    pub(super) fn inner(&self) -> usize {
        self.inner
    }

    pub(super) fn rows(&self) -> usize {
        match self.values {
            Values::Full(values) => values.len() / self.inner,
            Values::Half(values) => values.len() / self.inner,
            Values::Quantised(_, [start, end]) => end - start,
        }
    }

    /// `count` rows from `first` on, or as many as there are.
    pub(super) fn part(&self, first: usize, count: usize) -> Self {
        let (start, end) = (first * self.inner, (first + count).min(self.rows()) * self.inner);
        let values = match self.values {
            Values::Full(values) => Values::Full(&values[start..end]),
            Values::Half(values) => Values::Half(&values[start..end]),
            Values::Quantised(matrix, [begin, end]) => {
                Values::Quantised(matrix, [begin + first, (begin + first + count).min(end)])
            }
        };
        Self { values, inner: self.inner }
    }

    /// The rows, widened into `scratch` where they have to be.
    #[inline(always)]
    pub(super) fn wide<'b>(&self, scratch: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        match self.values {
            Values::Full(values) => values,
            Values::Half(values) => {
                scratch.resize(values.len(), 0.0);
                widen_here(values, scratch);
                scratch
            }
            Values::Quantised(matrix, [start, end]) => {
                scratch.resize((end - start) * self.inner, 0.0);
                matrix.widen(start..end, scratch);
                scratch
            }
        }
    }
}
