//! Matrix products: views with strides over slices, and the one call into `gemm`.

use std::any::Any;

use crate::model::Matrix;
use crate::real::Real;

/// A matrix seen in a slice: element (i, j) is at `i · row_stride + j · col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, F> {
    data: &'a [F],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, F> View<'a, F> {
    /// `rows × cols` contiguous values in row-major order, from the front of `data`.
    pub fn new(data: &'a [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` values that begin `row_stride` apart.
    pub fn strided(data: &'a [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, row_stride, 1), "view larger than its slice");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

impl<'a, F: Real> From<&'a Matrix<F>> for View<'a, F> {
    fn from(matrix: &'a Matrix<F>) -> Self {
        View::new(&matrix.data, matrix.rows, matrix.cols)
    }
}

/// A matrix to be written, rows of `cols` values that begin `row_stride` apart.
#[derive(Debug)]
pub struct ViewMut<'a, F> {
    data: &'a mut [F],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, F> ViewMut<'a, F> {
    /// `rows × cols` contiguous values in row-major order, from the front of `data`.
    pub fn new(data: &'a mut [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` values that begin `row_stride` apart.
    pub fn strided(data: &'a mut [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(cols <= row_stride || rows <= 1, "rows of a written matrix overlap");
        assert!(fits(data.len(), rows, cols, row_stride, 1), "view larger than its slice");
        Self { data, rows, cols, row_stride }
    }
}

/// Whether the last element of a view lies inside its slice.
fn fits(len: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * row_stride + (cols - 1) * col_stride < len
}

/// What happens to the values that the destination held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// They are overwritten.
    Replace,
    /// The product is added to them.
    Add,
}

/// Where a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// On the calling thread: for callers that are parallel themselves.
    One,
    /// On the whole pool, where the product is large enough to gain from it.
    Pool,
}

/// `dst = scale · a b` or `dst += scale · a b`, with a `[m, k]`, b `[k, n]`, dst `[m, n]`.
///
/// # Panics
/// If the shapes do not agree: a defect of the caller, never of its input.
pub fn multiply<F: Real>(
    dst: ViewMut<'_, F>,
    write: Write,
    scale: F,
    a: View<'_, F>,
    b: View<'_, F>,
    threads: Threads,
) {
    let (m, n, k) = (dst.rows, dst.cols, a.cols);
    assert!(
        a.rows == m && b.cols == n && b.rows == k,
        "shapes: [{m}, {n}] = [{}, {k}] [{}, {}]",
        a.rows,
        b.rows,
        b.cols
    );
    assert!(is_gemm_type::<F>(), "only f32 and f64 are multiplied");
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::Pool => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: both reads and the write stay inside their slices, as `fits` checked when each view was made (a
    // transposed view has the same last element) and the sizes were compared above; `dst` is borrowed mutably, so
    // it does not overlap `a` or `b`; its rows do not overlap each other, as checked by `ViewMut::strided`. F is
    // f32 or f64, which gemm implements. Strides fit isize because slices are at most isize::MAX bytes long.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data.as_mut_ptr(),
            1,
            dst.row_stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            F::ONE,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

fn is_gemm_type<F: Real>() -> bool {
    let zero: &dyn Any = &F::ZERO;
    zero.is::<f32>() || zero.is::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_scales_and_accumulates() {
        // a = [[1, 2], [3, 4]], b = [[5, 6], [7, 8]]
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let view = |data| View::new(data, 2, 2);
        let mut y = [1.0f32; 4];
        multiply(ViewMut::new(&mut y, 2, 2), Write::Replace, 1.0, view(&a), view(&b).t(), Threads::One);
        assert_eq!(y, [17.0, 23.0, 39.0, 53.0]);
        multiply(ViewMut::new(&mut y, 2, 2), Write::Add, 2.0, view(&a), view(&b), Threads::Pool);
        assert_eq!(y, [55.0, 67.0, 125.0, 153.0]);
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let mut y = [1.0f64; 4];
        let (a, b) = (View::new(&[], 2, 0), View::new(&[], 0, 2));
        multiply(ViewMut::new(&mut y, 2, 2), Write::Replace, 1.0, a, b, Threads::One);
        assert_eq!(y, [0.0; 4]);
    }
}
