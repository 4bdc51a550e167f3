//! The device's passes and updates against the CPU's: on the simulation of a GPU, and on a GPU where there is one.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod case;
#[path = "../common/mod.rs"]
mod common;
mod gpu;
mod learning;
mod passes;
mod peers;
mod plan;
mod quantised;
