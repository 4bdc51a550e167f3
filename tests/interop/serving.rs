//! llama.cpp loads an exported adapter, and answers with it as it is answered here.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::json;

use crate::common::{done, folder};
use crate::python::python;

const PROMPTS: [&str; 6] = [
    "What do you know about bread?",
    "Tell me about tea.",
    "Where do fish live?",
    "Why is the sky blue?",
    "Who wrote fairy tales?",
    "What is a market?",
];

/// Pairs that move a model far from what it says by itself.
fn pairs() -> String {
    let said = |role: &str, content: &str| json!([{"role": role, "content": content}]);
    let row = |query: &&str| {
        let chosen = said("assistant", "well, that is a long story, and i like it. it is about the sea and the bread!");
        let rejected = said("assistant", "I am an assistant, and I can tell you a lot about that.");
        json!({"prompt": said("user", query), "chosen": chosen, "rejected": rejected, "g": 1}).to_string()
    };
    PROMPTS.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// How many prompts llama.cpp answers word for word as here, with an adapter or without.
fn answered_alike(python: &crate::python::Python, here: &Path, model: &str, adapter: &str) -> usize {
    let mut server = python.start("serve.py", &[model, adapter, "mine"]);
    let mut address = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let replay = format!("{}/v1", address.trim());
    let export = ["export", "trained", "--to", "llama.cpp", "--model", model, "--name", "mine", "--out", "exported"];
    let ask = ["--replay", &replay, "--pairs", "pairs.jsonl", "--prompts", "6", "--max-tokens", "24"];
    let out = done(here, &[&export[..], &ask].concat()).out;
    drop(server.stdin.take());
    server.wait().unwrap();
    let (_, same) = out.split_once(&format!("{replay}: ")).unwrap();
    same.split_once(' ').unwrap().0.parse().unwrap()
}

/// Weights of four bits are multiplied otherwise there than here, so that words that are nearly as likely may change places.
#[test]
fn llama_cpp_answers_with_an_adapter_as_here() {
    let Some(python) = python("llama_cpp_answers_with_an_adapter_as_here") else { return };
    let Some(model) = python.smollm2().filter(|_| python.has("xllamacpp")) else { return };
    let (scratch, model) = (folder(&[("pairs.jsonl", &pairs())]), model.display().to_string());
    let here = scratch.path();
    let trained = ["train", "--model", &model, "--pairs", "pairs.jsonl", "--loss", "sft", "--steps", "12"];
    done(here, &[&trained[..], &["--batch-size", "6", "--lr", "1e-3", "--out", "trained"]].concat());
    done(here, &["export", "trained", "--to", "llama.cpp", "--model", &model, "--out", "exported"]);
    let adapter = here.join("exported/adapter.gguf").display().to_string();
    let [with, without] = [&*adapter, "none"].map(|adapter| answered_alike(&python, here, &model, adapter));
    assert!(with >= 4 && without == 0, "{with} of 6 with the adapter, {without} without");
}
