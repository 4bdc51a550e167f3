//! Agreement with transformers, peft, datasets, TRL and llama.cpp as they are installed in a Python beside this file.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adapters;
mod chat;
#[path = "../program/common.rs"]
#[allow(dead_code)] // what the tests of the program alone need
mod common;
mod export;
mod pairs;
mod python;
mod serving;
