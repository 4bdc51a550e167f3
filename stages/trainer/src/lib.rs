//! LoRA preference training of Llama and Qwen2 decoders, forward and backward written out by hand.
//!
//! The base model is frozen; only the low-rank adapter learns. Nothing here knows about streams.
//!
//! Conventions: matrices are row-major, a weight is `[out, in]` and applied as `y = x Wᵀ`; a row of an
//! activation is one token of a packed batch; `d` is the size of a head.

pub mod config;
pub mod error;
pub mod model;
pub mod projection;
pub mod real;

pub use config::{Config, Family, Llama3Scaling};
pub use error::Error;
pub use model::{Layer, Matrix, Model};
pub use projection::Projection;
pub use real::Real;
