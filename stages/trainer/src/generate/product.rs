//! y = x Wᵀ for the rows of a decoding step, few or many. With few, such a product is bound by reading W: each core streams
//! its share of the rows of W and takes all rows of x to each. A general matrix product would first copy W into another
//! order.
//!
//! Every value is summed in the same order whatever the number of rows, so a row's result does not depend on its company.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::factor::Factor;

/// Rows of W that are taken together.
const TILE: usize = 4;
/// Values of W that one parallel task reads at most (256 KB), and products that it computes at least: enough to be worth
/// its start.
const TASK: usize = 1 << 16;
const WORK: usize = 1 << 19;
/// Values of x that go through a task's rows of W before the next ones do (128 KB): they stay in the second cache.
const BLOCK: usize = 1 << 15;

/// From this number of rows on each core takes its share of them, rather than of W.
const MANY: usize = 64;

/// y `[rows, out]` from x `[rows, in]` and W `[out, in]`.
pub(super) fn product(x: &[f32], weight: Factor<'_>) -> Vec<f32> {
    let (inner, out) = (weight.inner(), weight.rows());
    let rows = x.len() / inner;
    let mut y = vec![0.0; rows * out];
    if rows >= MANY {
        let per_task = rows.div_ceil(4 * rayon::current_num_threads()).clamp(MANY / 2, MANY);
        let tasks = y.par_chunks_mut(per_task * out).zip(x.par_chunks(per_task * inner));
        tasks.for_each(|(y, x)| run(Part { weight, x, y, strides: [1, out] }));
        return y;
    }
    let per_task = (TASK.min(WORK / rows.max(1)) / inner).max(1).next_multiple_of(TILE);
    let tasks = y.par_chunks_mut(per_task * rows).enumerate();
    tasks.for_each(|(task, y)| run(Part { weight: weight.part(task * per_task, per_task), x, y, strides: [rows, 1] }));
    if rows == 1 { y } else { transpose(&y, out, rows) }
}

fn run(part: Part<'_>) {
    Arch::new().dispatch(part);
}

/// `[rows, cols]` to `[cols, rows]`.
pub(super) fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    /// Columns of x that one task takes, and rows that it takes at once: they stay in the nearest cache.
    const COLS: usize = 16;
    const ROWS: usize = 64;
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(COLS * rows).enumerate().for_each(|(task, y)| {
        for (block, x) in x.chunks(ROWS * cols).enumerate() {
            for (col, y) in y.chunks_exact_mut(rows).enumerate() {
                let values = x.chunks_exact(cols).map(|row| row[task * COLS + col]);
                y[block * ROWS..].iter_mut().zip(values).for_each(|(y, value)| *y = value);
            }
        }
    });
    y
}

/// Some rows of W `[n, inner]` with some of x `[m, inner]`: `y[i · strides[0] + j · strides[1]] = W_i · x_j`.
struct Part<'a> {
    weight: Factor<'a>,
    x: &'a [f32],
    y: &'a mut [f32],
    strides: [usize; 2],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Part { weight, x, y, strides } = self;
        let (inner, mut scratch) = (weight.inner(), Vec::new());
        let block = (BLOCK / inner).max(1);
        for (index, x) in x.chunks(block * inner).enumerate() {
            for tile in 0..weight.rows().div_ceil(TILE) {
                let weight = weight.part(tile * TILE, TILE).wide(&mut scratch);
                let y = &mut y[tile * TILE * strides[0] + index * block * strides[1]..];
                if weight.len() == TILE * inner {
                    outputs::<S, TILE>(simd, weight, x, y, strides);
                } else {
                    for (i, weight) in weight.chunks_exact(inner).enumerate() {
                        outputs::<S, 1>(simd, weight, x, &mut y[i * strides[0]..], strides);
                    }
                }
            }
        }
    }
}

/// N rows of W with some rows of x, as [`Part`] says. As many rows of x are taken together as the sums and
/// their factors fit the registers: four for AVX-512's 32, else three.
#[inline(always)]
fn outputs<S: Simd, const N: usize>(simd: S, weight: &[f32], x: &[f32], y: &mut [f32], strides: [usize; 2]) {
    let inner = weight.len() / N;
    let weight: [&[f32]; N] = std::array::from_fn(|i| &weight[i * inner..][..inner]);
    let together = if S::REGISTER_COUNT >= 32 { 4 } else { 3 };
    for (tile, x) in x.chunks(together * inner).enumerate() {
        let y = &mut y[tile * together * strides[1]..];
        match x.len() / inner {
            4 => tile_of::<S, N, 4>(simd, weight, x, y, strides),
            3 => tile_of::<S, N, 3>(simd, weight, x, y, strides),
            2 => tile_of::<S, N, 2>(simd, weight, x, y, strides),
            _ => tile_of::<S, N, 1>(simd, weight, x, y, strides),
        }
    }
}

/// N rows of W with M rows of x.
#[inline(always)]
fn tile_of<S: Simd, const N: usize, const M: usize>(
    simd: S,
    weight: [&[f32]; N],
    x: &[f32],
    y: &mut [f32],
    strides: [usize; 2],
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
            y[i * strides[0] + j * strides[1]] = simd.reduce_sum_f32s(sums[i][j]) + tail;
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
    use crate::model::Matrix;

    /// Sums of small integers are exact in any order.
    fn integers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn every_shape_agrees_with_the_definition() {
        for (rows, inner, out) in [
            (1, 64, 8),
            (1, 3, 5),
            (2, 17, 4),
            (3, 40, 7),
            (4, 33, 9),
            (7, 576, 70),
            (9, 100, 1_400),
            (70, 700, 6),
            (131, 9, 67),
        ] {
            let (x, weight) =
                (integers(rows * inner, 1), Matrix { rows: out, cols: inner, data: integers(out * inner, 2) });
            let found = product(&x, (&weight).into());
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
        let x = noise(150 * 75);
        let alone: Vec<f32> = x.chunks(75).flat_map(|row| product(row, (&weight).into())).collect();
        for rows in [7, 63, 64, 150] {
            assert_eq!(product(&x[..rows * 75], (&weight).into()), alone[..rows * 30], "{rows}");
        }
    }
}
