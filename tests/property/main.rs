//! Whatever is done to a random pipeline's inputs, and to its runs, what it leaves is what a naive evaluator makes of the inputs.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod naive;
mod pipeline;
mod round;
mod script;

use std::time::{Duration, Instant};

/// Rounds of the short form, which CI runs.
const ROUNDS: u64 = 12;

#[test]
fn what_a_run_leaves_is_what_its_inputs_make() {
    (0..ROUNDS).for_each(round::play);
}

/// `OBVERT_SOAK_MINUTES=20 cargo test --release --workspace --test property -- --ignored --nocapture`
#[test]
#[ignore = "takes as long as OBVERT_SOAK_MINUTES says"]
fn soak() {
    let minutes = std::env::var("OBVERT_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let (begin, mut seed) = (Instant::now(), 1000);
    while begin.elapsed() < Duration::from_secs(60 * minutes) {
        round::play(seed);
        seed += 1;
    }
    eprintln!("{} rounds in {} s", seed - 1000, begin.elapsed().as_secs());
}
