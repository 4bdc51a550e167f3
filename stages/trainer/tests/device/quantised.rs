//! A base that stays in a file's blocks on the device.

use std::sync::Arc;

use obvert_trainer::compute::{Compute, Learner};
use obvert_trainer::settings::Activations;
use obvert_trainer::{Config, Model, Projection};
use serde_json::json;

use crate::case::{Case, RPO, devices, distance};
use crate::common::{fill, quantised_models, random_pairs, tiny_config};

/// With biases; Q6_K has blocks of 256.
pub fn config() -> Config {
    tiny_config(json!({
        "model_type": "qwen2", "tie_word_embeddings": true, "hidden_size": 32, "head_dim": 16, "intermediate_size": 256,
    }))
}

/// The same case on the blocks and on what they stand for.
pub fn cases(targets: &[Projection]) -> [Case; 2] {
    let (config, pairs) = (config(), random_pairs(2, config().vocab_size, [6, 5, 4], 4));
    let case = |model: Model| {
        let case = Case::new(&config, targets, pairs.clone());
        let reference = obvert_trainer::logprobs(&model, None, &pairs).unwrap();
        Case { model: Arc::new(model), reference, ..case }
    };
    quantised_models(&config, |value| value).map(case)
}

#[test]
fn a_quantised_base_computes_what_the_widened_one_does() {
    let Some((exact, _)) = devices("a_quantised_base_computes_what_the_widened_one_does") else { return };
    for targets in [&Projection::ALL[..], &[Projection::V, Projection::Down]] {
        let [blocks, wide] = cases(targets);
        let mut device = blocks.on(&exact, 512, Activations::Keep);
        let [gradient, rest] = blocks.apart(&blocks.gradient(&mut device, &RPO), &wide.on_cpu(&RPO));
        assert!(gradient < 1e-4 && rest < 1e-5, "{targets:?}: gradients off by {gradient:.1e}, the rest by {rest:.1e}");
        // Another adapter, the base alone, and back.
        let before = device.policy(&blocks.pairs).unwrap();
        let mut other = blocks.adapter.clone();
        fill(&mut other, 9);
        for adapter in [Some(&other), None] {
            let found = device.logprobs(adapter, &blocks.pairs).unwrap();
            let expected = obvert_trainer::logprobs(&wide.model, adapter, &blocks.pairs).unwrap();
            let off = found.iter().zip(&expected).map(|(a, b)| (a.chosen - b.chosen).abs()).fold(0.0, f64::max);
            assert!(off < 1e-4 && found != before, "{targets:?}: off by {off:.1e}");
        }
        assert_eq!(device.policy(&blocks.pairs).unwrap(), before);
    }
}

/// The products read the adapter that the updates have made.
#[test]
fn an_adapter_learns_on_a_quantised_base() {
    let Some((exact, _)) = devices("an_adapter_learns_on_a_quantised_base") else { return };
    let [blocks, wide] = cases(&Projection::ALL);
    let (mut device, mut cpu) = (blocks.trainer_on(&exact), wide.trainer());
    for _ in 0..2 {
        let [found, expected] = [&mut device, &mut cpu].map(|trainer| trainer.step(&blocks.pairs, &wide.reference));
        assert!((found.unwrap().batch.loss - expected.unwrap().batch.loss).abs() < 1e-5);
    }
    let apart = distance(&device.adapter().unwrap(), &cpu.adapter().unwrap());
    assert!(apart < 1e-4, "adapters are {apart:.1e} apart");
}
