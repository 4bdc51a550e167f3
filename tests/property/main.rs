//! Whatever is done to a random pipeline's inputs, and to its runs, what it leaves is what a naive evaluator makes of the inputs.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod naive;
mod pipeline;
mod round;
mod script;

use std::time::{Duration, Instant};

use round::Held;

/// Rounds of the short form, which CI runs.
const ROUNDS: u64 = 12;

#[test]
fn what_a_run_leaves_is_what_its_inputs_make() {
    let held: Vec<Held> = (0..ROUNDS).map(round::play).collect();
    println!("{}", tried(&held));
}

/// `OBVERT_SOAK_MINUTES=20 cargo test --release --workspace --test property -- --ignored --nocapture`
#[test]
#[ignore = "takes as long as OBVERT_SOAK_MINUTES says"]
fn soak() {
    let minutes = std::env::var("OBVERT_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let (begin, mut seed) = (Instant::now(), 1000);
    let mut held = Vec::new();
    while begin.elapsed() < Duration::from_secs(60 * minutes) {
        held.push(round::play(seed));
        seed += 1;
    }
    eprintln!("{} rounds in {} s; {}", seed - 1000, begin.elapsed().as_secs(), tried(&held));
}

/// How often runs were held; what never happened was not tried.
fn tried(held: &[Held]) -> String {
    let (paused, drained) = held.iter().fold((0, 0), |(p, d), round| (p + round.paused, d + round.drained));
    assert!(paused > 0 && drained > 0, "{paused} runs were paused in truth, {drained} drained");
    format!("{paused} runs were paused in truth, {drained} drained")
}
