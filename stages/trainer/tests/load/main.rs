//! Checkpoints, tokenizers and chat templates, from folders and GGUF files.

#[path = "../common/mod.rs"]
mod common;

mod chat;
mod checkpoint;
mod damaged;
mod gguf;
mod quant;
mod real;
mod tokenizer;
