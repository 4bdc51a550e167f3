//! The frozen products, as the trainer asks for them.

use half::bf16;
use obvert_device::machine::{Kind, Operand, Product};
use obvert_device::ops::logprob::CHUNK;
use obvert_device::{Array, Error};

use crate::bench::{Bench, FLOAT, REAL, Work};
use crate::sizes::Matrix;

/// Every matrix of a block, forward and backward: y = [x | S] [W | sB]ᵀ, and dy [W | sB].
pub fn frozen(bench: &Bench) -> Result<(), Error> {
    for matrix in bench.sizes.matrices() {
        let (rows, stride, out) = (bench.sizes.rows(), matrix.stride(), matrix.out);
        let (x, w, y) = (bench.reals(rows * stride)?, bench.reals(out * stride)?, bench.reals(rows * out)?);
        let [x, w, y] = [(&x, stride), (&w, stride), (&y, out)].map(|(array, stride)| real(array, stride));
        let Matrix { name, inner, rank, .. } = matrix;
        time(bench, &format!("{name}, forward"), product([rows, out, stride], [x, w.t(), y], 0.0));
        time(bench, &format!("{name}, backward"), product([rows, inner + rank, out], [y, w, x], 0.0));
    }
    Ok(())
}

/// A chunk of the vocabulary: its logits, and what they add to Σ exp(z) W.
pub fn head(bench: &Bench) -> Result<(), Error> {
    let (n, width, chunk) = (bench.sizes.targets(), bench.sizes.hidden, CHUNK.min(bench.sizes.vocab));
    let [hidden, head, weights] = [n * width, chunk * width, n * chunk].map(|len| bench.reals(len));
    let (hidden, head, weights) = (hidden?, head?, weights?);
    let (logits, sums) = (bench.floats(n * chunk)?, bench.floats(n * width)?);
    let rows = real(&head, width);
    let operands = [real(&hidden, width), rows.t(), logits.matrix(0, chunk, Kind::Float)];
    time(bench, "head, logits", product([n, chunk, width], operands, 0.0));
    let operands = [real(&weights, chunk), rows, sums.matrix(0, width, Kind::Float)];
    time(bench, "head, gradient", product([n, width, chunk], operands, 1.0));
    Ok(())
}

/// Seconds of the product of two square matrices, the second transposed.
pub fn square(
    bench: &Bench,
    size: usize,
    seconds: impl FnOnce(&mut dyn FnMut() -> Result<(), Error>) -> Result<f64, Error>,
) -> Result<f64, Error> {
    let (a, b, c) = (bench.reals(size * size)?, bench.reals(size * size)?, bench.reals(size * size)?);
    let [a, b, c] = [&a, &b, &c].map(|array| real(array, size));
    let product = product([size; 3], [a, b.t(), c], 0.0);
    seconds(&mut || bench.device.multiply(&product))
}

fn real(array: &Array<bf16>, stride: usize) -> Operand {
    array.matrix(0, stride, Kind::Real)
}

fn product(size: [usize; 3], [a, b, c]: [Operand; 3], beta: f32) -> Product {
    Product { size, a, b, c, beta }
}

fn time(bench: &Bench, name: &str, product: Product) {
    let ([m, n, k], wide) = (product.size, if product.c.kind == Kind::Float { FLOAT } else { REAL });
    let written = if product.beta == 0.0 { 1 } else { 2 };
    let work = Work { bytes: REAL * (m * k + k * n) + written * wide * m * n, flops: 2 * m * n * k };
    bench.time(name, &product.size, work, || bench.device.multiply(&product));
}
