//! Every kernel against its formula, on the simulation.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod adamw;
mod attention;
mod broken;
mod common;
mod dequantise;
mod embed;
mod logprob;
mod lora;
mod margin;
mod rmsnorm;
mod rope;
mod sample;
mod swiglu;
