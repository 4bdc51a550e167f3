//! Weights in bfloat16 and in quantised blocks: the same results as with the same numbers in `f32`.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{fill, quantised_models, random_pairs, stored_model, tiny_config};
use half::bf16;
use obvert_trainer::generate::{Job, Sampling, generate};
use obvert_trainer::gradient::Reference;
use obvert_trainer::loss::Dpo;
use obvert_trainer::passes::Passes;
use obvert_trainer::{Adapter, LoraSettings, Model, ResponseLogps, Storage, logprobs};
use serde_json::json;

fn rounded(storage: Storage) -> Model {
    let config = tiny_config(json!({ "tie_word_embeddings": false }));
    stored_model(&config, 3, storage, |value| bf16::from_f64(value).to_f64())
}

/// Q6_K has blocks of 256.
fn blocks() -> [Model; 2] {
    quantised_models(&tiny_config(json!({ "hidden_size": 32, "head_dim": 16, "intermediate_size": 256 })), |value| {
        value
    })
}

#[test]
fn training_does_not_see_the_difference() {
    training_is_alike([Storage::F32, Storage::Bf16].map(rounded));
    training_is_alike(blocks());
}

fn training_is_alike([full, half]: [Model; 2]) {
    let mut adapter = Adapter::new(&full.config, &LoraSettings::default(), 1).unwrap();
    fill(&mut adapter, 2);
    let pairs = random_pairs(4, full.config.vocab_size, [6, 4, 5], 4);
    let logps = logprobs(&full, None, &pairs).unwrap();
    let reference = Reference { logps: &logps, mismatched: 0.0 };
    let loss = Dpo { beta: 0.1, label_smoothing: 0.0 };
    let gradient = |model| Passes::default().batch_gradient(model, &adapter, &pairs, reference, &loss).unwrap();
    let (expected, found) = (gradient(&full), gradient(&half));
    assert!((expected.loss - found.loss).abs() < 1e-6);
    for (expected, found) in expected.gradient.matrices().zip(found.gradient.matrices()) {
        assert!(expected.data.iter().zip(&found.data).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

/// Widened blocks come and go beside activations, which are kept and must not be as large as they.
#[test]
fn widening_takes_one_block_of_every_size() {
    let config = tiny_config(json!({ "num_hidden_layers": 6, "tie_word_embeddings": false }));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let pairs = random_pairs(1, config.vocab_size, [2, 2, 2], 4);
    let loss = Dpo { beta: 0.1, label_smoothing: 0.0 };
    let adapter = Adapter::new(&config, &LoraSettings::default(), 1).unwrap();
    let [full, half] = [Storage::F32, Storage::Bf16].map(|storage| {
        let model = stored_model::<f32>(&config, 3, storage, |v| v);
        let reference = Reference { logps: &[ResponseLogps::default()], mismatched: 0.0 };
        let passes = pool.install(Passes::default);
        passes.batch_gradient(&model, &adapter, &pairs, reference, &loss).unwrap();
        passes.asked()
    });
    let (hidden, ffn, vocab) = (config.hidden, config.ffn, config.vocab_size);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    // The last is the head's row of a target.
    let blocks =
        [hidden * q, hidden * kv, hidden * ffn, hidden * vocab, hidden].iter().sum::<usize>() * size_of::<f32>();
    assert!(half <= full + blocks, "{half} bytes, {full} without widening, {blocks} for the blocks");
}

#[test]
fn generating_does_not_see_the_difference() {
    generating_is_alike([Storage::F32, Storage::Bf16].map(rounded));
    generating_is_alike(blocks());
}

fn generating_is_alike([full, half]: [Model; 2]) {
    let sampling = |seed| Sampling { temperature: 1.0, top_p: 0.9, max_tokens: 12, seed };
    let jobs = [Job { prompt: vec![1, 2, 3], samples: (0..5).map(sampling).collect() }];
    let tokens = |model| generate(model, None, &jobs, &[]).unwrap().remove(0).unwrap();
    assert_eq!(tokens(&full), tokens(&half));
}

#[test]
fn rounding_is_seen() {
    let config = tiny_config(json!({}));
    let [full, half] = [Storage::F32, Storage::Bf16].map(|storage| stored_model::<f32>(&config, 3, storage, |v| v));
    let pairs = random_pairs(1, config.vocab_size, [6, 4, 5], 4);
    let chosen = |model| logprobs(model, None, &pairs).unwrap()[0].chosen;
    let difference: f64 = chosen(&full) - chosen(&half);
    assert!(difference.abs() > 1e-5 && difference.abs() < 1.0, "{difference}");
}
