//! Kernels of the trainer, and the machines that run them: a GPU, or in tests a simulation of one.
//!
//! Each operation is one file in `../kernels` and one here, which knows its launches. Nothing here knows a model.
//! Matrices are row-major. `F` is what activations and frozen weights are stored as: `bf16`, or `f32` to compare exactly.

pub mod array;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod error;
pub mod machine;
pub mod ops;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod sources;

pub use array::{Array, Device, Stored};
pub use error::Error;
pub use machine::{Argument, Launch, Machine, Product};
