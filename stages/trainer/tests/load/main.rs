//! Checkpoints, tokenizers and chat templates, from folders and GGUF files.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod adapter;
mod chat;
mod checkpoint;
mod damaged;
mod gguf;
mod merge;
mod quant;
mod real;
mod tokenizer;
