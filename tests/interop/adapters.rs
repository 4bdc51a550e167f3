//! Adapters go both ways between obvert and peft, and merged folders are read by transformers.

use std::path::Path;

use serde_json::Value;

use crate::common::{done, folder};
use crate::python::{Python, python};

const FAMILIES: [&str; 2] = ["llama", "qwen2"];
/// Per token, of log-probs; of logits.
const TOLERANCE: f64 = 1e-4;

/// Makes the tiny models. The adapter in `adapter` was saved by peft; `obvert train` went on from it in `trained`, and began
/// with a new one in `fresh`.
fn models(python: &Python, out: &Path) {
    python.run("models.py", &[out.to_str().unwrap()]);
    for family in FAMILIES {
        let start = ["train", "--model", "model", "--adapter", "adapter", "--pairs", "batch.json"];
        let settings = ["--steps", "4", "--lr", "2e-2", "--out"];
        done(&out.join(family), &[&start[..], &settings, &["trained"]].concat());
        done(&out.join(family), &[&start[..3], &start[5..], &settings, &["fresh"]].concat());
    }
}

/// Log-probs of a side, per token of the responses.
fn per_token(said: &Value, batch: &Value) -> Vec<f64> {
    let mut found = Vec::new();
    for response in ["chosen", "rejected"] {
        for (logp, pair) in said[response].as_array().unwrap().iter().zip(batch["pairs"].as_array().unwrap()) {
            found.push(logp.as_f64().unwrap() / pair[response].as_array().unwrap().len() as f64);
        }
    }
    assert!(!found.is_empty());
    found
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn log_probs_are_those_of_torch_with_peft() {
    let Some(python) = python("log_probs_are_those_of_torch_with_peft") else { return };
    let scratch = folder(&[]);
    models(&python, scratch.path());
    for family in FAMILIES {
        let here = scratch.path().join(family);
        let path = |name: &str| here.join(name).display().to_string();
        let batch: Value = serde_json::from_slice(&std::fs::read(here.join("batch.json")).unwrap()).unwrap();
        let adapters = ["adapter", "trained", "fresh"];
        let [model, pairs, a, b, c] = ["model", "batch.json", "adapter", "trained", "fresh"].map(path);
        let expected = python.json("logprobs.py", &[&model, &pairs, &a, &b, &c]);
        for (index, adapter) in adapters.into_iter().enumerate() {
            let ran = done(&here, &["logprobs", "--model", "model", "--adapter", adapter, "--batch", "batch.json"]);
            let found: Value = serde_json::from_str(&ran.out).unwrap();
            let [policy, reference] = ["policy", "reference"].map(|side| {
                let off = distance(&per_token(&found[side], &batch), &per_token(&expected[index][side], &batch));
                assert!(off < TOLERANCE, "{family} {adapter} {side}: {off}");
                off
            });
            let moved = distance(&per_token(&found["policy"], &batch), &per_token(&found["reference"], &batch));
            assert!(moved > 100.0 * TOLERANCE, "{family} {adapter} does nothing: {moved}");
            eprintln!(
                "{family} {adapter}: off by {policy:.1e} (reference {reference:.1e}) a token, the adapter moves {moved:.2}"
            );
        }
    }
}

/// Weights in single precision: our name, and torch's.
const F32: [&str; 2] = ["f32", "torch.float32"];

/// Merges, and compares the logits with those of base plus adapter in peft.
fn assert_merged(python: &Python, here: &Path, inputs: [&str; 3], [dtype, named]: [&str; 2], tolerance: f64) {
    let [model, adapter, batch] = inputs;
    done(here, &["merge", "--model", model, "--adapter", adapter, "--dtype", dtype, "--out", dtype]);
    let paths = [model, adapter, dtype, batch].map(|name| here.join(name).display().to_string());
    let found = python.json("merged.py", &paths.each_ref().map(String::as_str));
    let (off, moved) = (found["off"].as_f64().unwrap(), found["moved"].as_f64().unwrap());
    assert!(off < tolerance && moved > 2.0 * tolerance, "{model} {dtype}: {found}");
    assert_eq!(found["dtypes"], serde_json::json!([named, named]));
    eprintln!("{} {dtype}: logits off by {off:.1e}, the adapter moves them by {moved:.2}", here.join(model).display());
}

#[test]
fn merged_folders_give_the_logits_of_base_and_adapter() {
    let Some(python) = python("merged_folders_give_the_logits_of_base_and_adapter") else { return };
    let scratch = folder(&[]);
    models(&python, scratch.path());
    for family in FAMILIES {
        let (here, inputs) = (scratch.path().join(family), ["model", "adapter", "batch.json"]);
        for (dtype, tolerance) in [(F32, TOLERANCE), (["bf16", "torch.bfloat16"], 0.1)] {
            assert_merged(&python, &here, inputs, dtype, tolerance);
        }
    }
}

const PAIRS: &str = r#"{"prompt": [{"role": "user", "content": "And tea?"}], "chosen": [{"role": "assistant", "content": "Tea is sweet!"}], "rejected": [{"role": "assistant", "content": "tea"}], "g": 1}"#;
const BATCH: &str = r#"{"beta": 0.1, "gamma": 0.05, "pairs": [{"prompt": [1, 9690, 198], "chosen": [504, 2], "rejected": [1812, 30, 2], "gap": 1}]}"#;

#[test]
fn a_gguf_file_is_merged_into_a_folder() {
    let Some(python) = python("a_gguf_file_is_merged_into_a_folder") else { return };
    let Some(gguf) = python.smollm2() else { return };
    let scratch = folder(&[("pairs.jsonl", PAIRS), ("batch.json", BATCH)]);
    let model = gguf.to_str().unwrap();
    let train = ["train", "--model", model, "--pairs", "pairs.jsonl", "--steps", "3", "--lr", "5e-3"];
    done(scratch.path(), &[&train[..], &["--loss", "sft", "--out", "adapter"]].concat());
    assert_merged(&python, scratch.path(), [model, "adapter", "batch.json"], F32, TOLERANCE);
}
