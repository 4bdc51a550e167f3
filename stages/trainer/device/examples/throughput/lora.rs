//! The adapter's kernels, beside each frozen matrix of a block.

use obvert_device::Error;
use obvert_device::ops::lora::{self, Columns, Wide};

use crate::bench::{Bench, FLOAT, REAL, Work};
use crate::sizes::Matrix;

pub fn matrices(bench: &Bench) -> Result<(), Error> {
    for matrix in bench.sizes.matrices() {
        inputs(bench, &matrix)?;
        gradients(bench, &matrix)?;
        placed(bench, &matrix)?;
    }
    Ok(())
}

/// S = x Aᵀ, and dx += dS A.
fn inputs(bench: &Bench, matrix: &Matrix) -> Result<(), Error> {
    let Matrix { name, inner, rank, .. } = *matrix;
    let (wide, device, rows) = (wide(matrix, bench.sizes.rows()), &bench.device, bench.sizes.rows());
    let (mut x, stack) = (bench.reals(rows * wide.stride)?, bench.reals(rank * inner)?);
    let (shape, flops) = ([rows, inner, rank], 2 * rows * inner * rank);
    let bytes = REAL * (rows * inner + rank * inner + rows * rank);
    bench.time(&format!("lora_down, {name}"), &shape, Work { bytes, flops }, || {
        lora::down(device, &mut x, &wide, (&stack, inner))
    });
    let work = Work { bytes: bytes + REAL * rows * inner, flops };
    bench.time(&format!("lora_add_down, {name}"), &shape, work, || {
        lora::add_down(device, &mut x, &wide, (&stack, inner))
    });
    if inner == bench.sizes.ffn {
        let mut gate_up = bench.reals(rows * 2 * inner)?;
        let work = Work { bytes: bytes + 4 * REAL * rows * inner, flops };
        bench.time(&format!("lora_swiglu_backward, {name}"), &shape, work, || {
            lora::swiglu_backward(device, (&mut gate_up, 2 * inner), &x, &wide, (&stack, inner))
        });
    }
    Ok(())
}

/// dA += dSᵀ x for the whole stack, dB += dyᵀ S for the first projection.
fn gradients(bench: &Bench, matrix: &Matrix) -> Result<(), Error> {
    let Matrix { name, inner, rank, out, first, .. } = *matrix;
    let (device, rows, r) = (&bench.device, bench.sizes.rows(), bench.sizes.rank);
    let wide = wide(matrix, rows);
    let (x, dx, dy) = (bench.reals(rows * wide.stride)?, bench.reals(rows * wide.stride)?, bench.reals(rows * out)?);
    let (mut d_a, mut d_b) = (bench.floats(rank * inner)?, bench.floats(first * r)?);
    let mut product = device.room("a gradient before it is added", first * r)?;
    let dy = Columns::new(&dy, rows, out, 0..first);
    let work = |wide: usize, thin: usize| Work {
        bytes: REAL * rows * (wide + thin) + 2 * FLOAT * wide * thin,
        flops: 2 * rows * wide * thin,
    };
    bench.time(&format!("lora_gradient A, {name}"), &[rows, inner, rank], work(inner, rank), || {
        lora::gradient_a(device, &mut d_a, wide.own(&x), wide.beside(&dx, 0..rank))
    });
    bench.time(&format!("lora_gradient B, {name}"), &[rows, first, r], work(first, r), || {
        lora::gradient_b(device, (&mut d_b, 2.0), &mut product, dy, wide.beside(&x, 0..r))
    });
    Ok(())
}

/// The adapter's values, written to where the products read them.
fn placed(bench: &Bench, matrix: &Matrix) -> Result<(), Error> {
    let Matrix { name, inner, rank, out, first, .. } = *matrix;
    let (device, r, wide) = (&bench.device, bench.sizes.rank, wide(matrix, out));
    let (mut w, mut stack) = (bench.reals(out * wide.stride)?, bench.reals(rank * inner)?);
    let (a, b) = (bench.floats(rank * inner)?, bench.floats(first * r)?);
    let work = |count: usize| Work::bytes((REAL + FLOAT) * count);
    bench.time(&format!("lora_place A, {name}"), &[rank, inner], work(rank * inner), || {
        lora::place_a(device, (&mut stack, inner), (&a, inner), 0)
    });
    bench.time(&format!("lora_place B, {name}"), &[first, r], work(first * r), || {
        lora::place_b(device, &mut w, &wide, (&b, 2.0), 0, 0..r)
    });
    bench.time(&format!("lora_clear, {name}"), &[out, rank], Work::bytes(REAL * out * rank), || {
        lora::clear(device, &mut w, &wide)
    });
    Ok(())
}

fn wide(matrix: &Matrix, rows: usize) -> Wide {
    Wide { rows, width: matrix.inner, rank: matrix.rank, stride: matrix.stride() }
}
