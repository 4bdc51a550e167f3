//! LoRA preference training of Llama and Qwen2 decoders, forward and backward written out by hand.
//!
//! The base model is frozen; only the low-rank adapter learns. Nothing here knows about streams.
//!
//! Conventions: matrices are row-major, a weight is `[out, in]` and applied as `y = x Wᵀ`; a row of an
//! activation is one token of a packed batch; `d` is the size of a head.

pub mod adamw;
mod backward;
pub mod buffers;
pub mod checkpoint;
pub mod checkpoints;
pub mod compute;
pub mod config;
pub mod conversation;
pub mod device;
pub mod error;
pub mod fit;
pub mod forward;
pub mod generate;
pub mod gguf;
pub mod gradient;
pub mod lanes;
pub mod load;
pub mod local;
pub mod lora;
pub mod loss;
pub mod merge;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod pack;
pub mod pair;
pub mod passes;
pub mod peers;
pub mod peft;
pub mod place;
pub mod projection;
pub mod quantised;
pub mod random;
pub mod real;
pub mod reference;
pub mod schedule;
pub mod settings;
mod tensors;
pub mod train;
pub mod weight;
mod weights_file;

pub use config::{Config, Family, Llama3Scaling};
pub use error::Error;
pub use forward::logits;
pub use gradient::ResponseLogps;
pub use lora::{Adapter, LoraSettings};
pub use metrics::{Measures, Metrics};
pub use model::{Layer, Matrix, Model};
pub use pair::TokenPair;
pub use passes::logprobs;
pub use projection::Projection;
pub use quantised::Quantised;
pub use real::Real;
pub use settings::TrainSettings;
pub use train::Trainer;
pub use weight::{Storage, Weight};
