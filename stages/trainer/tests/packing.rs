//! A pair's shared prompt gives what two separate sequences give, and packing keeps pairs apart.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{fill, random_model, random_pairs, tiny_config};
use obvert_trainer::gradient::Reference;
use obvert_trainer::loss::Dpo;
use obvert_trainer::passes::Passes;
use obvert_trainer::settings::Activations;
use obvert_trainer::{Adapter, LoraSettings, TokenPair, logits, logprobs};
use serde_json::json;

fn log_prob(logits: &[f64], token: u32) -> f64 {
    logits[token as usize] - logits.iter().map(|z| z.exp()).sum::<f64>().ln()
}

#[test]
fn a_shared_prompt_changes_no_log_prob() {
    let config = tiny_config(json!({}));
    let model = random_model::<f64>(&config, 3);
    let mut adapter = Adapter::new(&config, &LoraSettings::default(), 1).unwrap();
    fill(&mut adapter, 2);
    let pairs = random_pairs(3, config.vocab_size, [67, 70, 1], 4);
    let found = logprobs(&model, Some(&adapter), &pairs).unwrap();
    for (TokenPair { prompt, chosen, rejected, .. }, found) in pairs.iter().zip(found) {
        for (response, found) in [(chosen, found.chosen), (rejected, found.rejected)] {
            let text = [prompt.clone(), response.clone()].concat();
            let logits = logits(&model, Some(&adapter), &text);
            let rows = logits.data.chunks_exact(config.vocab_size).skip(prompt.len() - 1);
            let expected: f64 = response.iter().zip(rows).map(|(token, row)| log_prob(row, *token)).sum();
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
    }
}

#[test]
fn passes_and_recomputation_change_rounding_only() {
    let config = tiny_config(json!({}));
    let model = random_model::<f64>(&config, 3);
    let mut adapter = Adapter::new(&config, &LoraSettings::default(), 1).unwrap();
    fill(&mut adapter, 2);
    let pairs = random_pairs(5, config.vocab_size, [6, 4, 5], 4);
    let reference = logprobs(&model, None, &pairs).unwrap();
    let loss = Dpo { beta: 0.1, label_smoothing: 0.1 };
    let compared = Reference { logps: &reference, mismatched: 0.0 };
    let gradient = |size, activations| {
        Passes::new(size, activations).batch_gradient(&model, &adapter, &pairs, compared, &loss).unwrap()
    };
    let whole = gradient(1_000, Activations::Keep);
    // The pairs have 15 to 23 packed tokens: one, two, or three and two at a time.
    let (keep, recompute) = (Activations::Keep, Activations::Recompute);
    for (size, activations) in [(1, keep), (40, keep), (60, keep), (1_000, recompute), (40, recompute)] {
        let parts = gradient(size, activations);
        assert!((whole.loss - parts.loss).abs() < 1e-12);
        let values = |batch: &obvert_trainer::gradient::BatchGradient<f64>| {
            batch.gradient.matrices().flat_map(|m| m.data.clone()).collect::<Vec<_>>()
        };
        assert!(values(&whole).iter().zip(values(&parts)).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
