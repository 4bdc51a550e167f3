//! The operations: for each, which kernel runs on how many blocks, and with what.
//!
//! A matrix whose rows are not dense comes as a tuple of its array and the stride of its rows (values): row 0 begins with the
//! array. Index arrays are `i32`, as the kernels read them; that the indices exist is the caller's part.

pub mod adamw;
pub mod attention;
pub mod dequantise;
pub mod embed;
pub mod logprob;
pub mod lora;
pub mod margin;
pub mod rmsnorm;
pub mod rope;
pub mod sample;
pub mod swiglu;

/// Lanes of a warp.
const WARP: usize = 32;

/// Threads of a block that shares out `items`: whole warps, `most` at most.
fn threads(items: usize, most: usize) -> usize {
    items.div_ceil(WARP).clamp(1, most / WARP) * WARP
}

/// Bytes of shared memory that a sum over a block takes: a float for every warp.
fn scratch(threads: usize) -> usize {
    threads / WARP * size_of::<f32>()
}

/// Checks that rows of `width` values, `stride` apart, lie in an array of `len` values.
fn check(what: &str, len: usize, [rows, width]: [usize; 2], stride: usize) {
    let needed = if rows == 0 { 0 } else { (rows - 1) * stride + width };
    assert!(width <= stride, "{what}: rows of {width} values, {stride} apart");
    assert!(needed <= len, "{what}: {rows} rows of {width} values, {stride} apart, in {len} values");
}

/// Checks that an array of `len` values has room for `needed`.
fn check_len(what: &str, len: usize, needed: usize) {
    assert!(needed <= len, "{what}: {needed} values in {len}");
}
