//! The operations of a decoder, one per file, forward and backward side by side.

pub mod attention;
pub mod heads;
pub mod linear;
pub mod logprobs;
pub mod product;
pub mod rmsnorm;
pub mod rope;
pub mod swiglu;
pub mod vector;

/// Rows of an activation that one parallel task of an elementwise operation takes.
pub(crate) const ROWS_PER_TASK: usize = 16;
