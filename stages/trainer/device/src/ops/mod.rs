//! The operations: for each, which kernel runs on how many blocks, and with what.

pub mod dequantise;
pub mod logprob;
pub mod lora;
pub mod rmsnorm;
