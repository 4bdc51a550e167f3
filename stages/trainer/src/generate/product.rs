//! y = x Wᵀ for the few rows of a decoding step. Such a product is bound by reading W: each core streams its share of the
//! rows of W once and takes all rows of x to each. A general matrix product would first copy W into another order.
//!
//! Every value is summed in the same order whatever the number of rows, so a row's result does not depend on its company.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::model::Matrix;

/// Rows of W and of x that are taken together: 16 sums, which with their factors fill AVX-512's registers.
const TILE: usize = 4;
/// Values of W that one parallel task reads (256 KB): enough to be worth its start.
const TASK: usize = 1 << 16;

/// y `[rows, out]` from x `[rows, in]` and W `[out, in]`.
pub(super) fn product(x: &[f32], weight: &Matrix<f32>) -> Vec<f32> {
    let (rows, inner, out) = (x.len() / weight.cols, weight.cols, weight.rows);
    let mut transposed = vec![0.0; rows * out];
    let per_task = (TASK / inner).max(1).next_multiple_of(TILE);
    transposed
        .par_chunks_mut(per_task * rows)
        .zip(weight.data.par_chunks(per_task * inner))
        .for_each(|(y, weight)| Arch::new().dispatch(Rows { weight, x, y, inner }));
    if rows == 1 { transposed } else { transpose(&transposed, out, rows) }
}

/// `[rows, cols]` to `[cols, rows]`.
pub(super) fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    for (i, row) in x.chunks_exact(cols).enumerate() {
        for (j, value) in row.iter().enumerate() {
            y[j * rows + i] = *value;
        }
    }
    y
}

/// Some rows of W `[n, inner]`, all of x `[rows, inner]`, and yᵀ `[n, rows]`.
struct Rows<'a> {
    weight: &'a [f32],
    x: &'a [f32],
    y: &'a mut [f32],
    inner: usize,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.x.len() / self.inner;
        let tiles = self.weight.chunks(TILE * self.inner).zip(self.y.chunks_mut(TILE * rows));
        for (weight, y) in tiles {
            match weight.len() / self.inner {
                TILE => outputs::<S, TILE>(simd, weight, self.x, y, self.inner),
                _ => {
                    for (weight, y) in weight.chunks_exact(self.inner).zip(y.chunks_exact_mut(rows)) {
                        outputs::<S, 1>(simd, weight, self.x, y, self.inner);
                    }
                }
            }
        }
    }
}

/// N rows of W with all rows of x.
#[inline(always)]
fn outputs<S: Simd, const N: usize>(simd: S, weight: &[f32], x: &[f32], y: &mut [f32], inner: usize) {
    let rows = x.len() / inner;
    let weight: [&[f32]; N] = std::array::from_fn(|i| &weight[i * inner..][..inner]);
    for (tile, x) in x.chunks(TILE * inner).enumerate() {
        let y = &mut y[tile * TILE..];
        match x.len() / inner {
            4 => tile_of::<S, N, 4>(simd, weight, x, y, rows),
            3 => tile_of::<S, N, 3>(simd, weight, x, y, rows),
            2 => tile_of::<S, N, 2>(simd, weight, x, y, rows),
            _ => tile_of::<S, N, 1>(simd, weight, x, y, rows),
        }
    }
}

/// N rows of W with M rows of x: `y[i · stride + j] = W_i · x_j`.
#[inline(always)]
fn tile_of<S: Simd, const N: usize, const M: usize>(
    simd: S,
    weight: [&[f32]; N],
    x: &[f32],
    y: &mut [f32],
    stride: usize,
) {
    let inner = x.len() / M;
    let x: [&[f32]; M] = std::array::from_fn(|j| &x[j * inner..][..inner]);
    let (weights, weight_tails) = split::<S, N>(weight);
    let (xs, x_tails) = split::<S, M>(x);
    let mut sums = [[simd.splat_f32s(0.0); M]; N];
    let steps = weights[0].len();
    let (weights, xs) = (weights.map(|w| &w[..steps]), xs.map(|x| &x[..steps]));
    for step in 0..steps {
        for i in 0..N {
            for j in 0..M {
                sums[i][j] = simd.mul_add_f32s(weights[i][step], xs[j][step], sums[i][j]);
            }
        }
    }
    for i in 0..N {
        for j in 0..M {
            let tail: f32 = weight_tails[i].iter().zip(x_tails[j]).map(|(w, x)| w * x).sum();
            y[i * stride + j] = simd.reduce_sum_f32s(sums[i][j]) + tail;
        }
    }
}

/// Each row as whole vectors, and what is left over.
#[inline(always)]
fn split<S: Simd, const N: usize>(rows: [&[f32]; N]) -> ([&[S::f32s]; N], [&[f32]; N]) {
    let parts = rows.map(S::as_simd_f32s);
    (parts.map(|(whole, _)| whole), parts.map(|(_, tail)| tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of small integers are exact in any order.
    fn integers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn every_shape_agrees_with_the_definition() {
        for (rows, inner, out) in
            [(1, 64, 8), (1, 3, 5), (2, 17, 4), (3, 40, 7), (4, 33, 9), (7, 576, 70), (9, 100, 1_400)]
        {
            let (x, weight) =
                (integers(rows * inner, 1), Matrix { rows: out, cols: inner, data: integers(out * inner, 2) });
            let found = product(&x, &weight);
            let expected: Vec<f32> = x
                .chunks(inner)
                .flat_map(|x| weight.data.chunks(inner).map(move |w| w.iter().zip(x).map(|(a, b)| a * b).sum()))
                .collect();
            assert_eq!(found, expected, "{rows} {inner} {out}");
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_company() {
        let mut state = 1_u32;
        let mut noise = |count: usize| -> Vec<f32> {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state as f32 / u32::MAX as f32 - 0.5
            };
            (0..count).map(|_| next()).collect()
        };
        let weight = Matrix { rows: 30, cols: 75, data: noise(30 * 75) };
        let x = noise(7 * 75);
        let alone: Vec<f32> = x.chunks(75).flat_map(|row| product(row, &weight)).collect();
        assert_eq!(product(&x, &weight), alone);
    }
}
