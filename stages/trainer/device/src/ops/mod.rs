//! The operations: for each, which kernel runs on how many blocks, and with what.

pub mod attention;
pub mod rmsnorm;
