//! Every kernel against its formula, on the simulation.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod broken;
mod common;
mod dequantise;
mod logprob;
mod lora;
mod rmsnorm;
