//! `merge`: a folder that says what base and adapter say, and what it refuses.

use std::fs;

use serde_json::Value;

use crate::common::{done, folder, obvert, repository};

const PAIR: &str = r#"{"prompt": [{"role": "user", "content": "And tea?"}], "chosen": [{"role": "assistant", "content": "Tea is sweet!"}], "rejected": [{"role": "assistant", "content": "tea"}], "g": 2}"#;

#[test]
fn a_merged_model_needs_no_adapter() {
    let folder = folder(&[("pairs.jsonl", PAIR)]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let train =
        ["train", "--model", &model, "--pairs", "pairs.jsonl", "--steps", "4", "--lr", "5e-3", "--out", "adapter"];
    done(folder.path(), &train);
    done(folder.path(), &["merge", "--model", &model, "--adapter", "adapter", "--out", "deep/merged"]);
    let said = |model: &[&str]| -> Value {
        let ran = done(folder.path(), &[&["logprobs", "--batch", "pairs.jsonl", "--model"], model].concat());
        serde_json::from_str(&ran.out).unwrap()
    };
    let (adapted, merged) = (said(&[&model, "--adapter", "adapter"]), said(&["deep/merged"]));
    for response in ["chosen", "rejected"] {
        let number = |said: &Value, side: &str| said[side][response][0].as_f64().unwrap();
        let (expected, base) = (number(&adapted, "policy"), number(&adapted, "reference"));
        assert!((number(&merged, "policy") - expected).abs() < 1e-3, "{merged} is not {adapted}");
        assert!((base - expected).abs() > 0.1, "the adapter does nothing: {adapted}");
    }
}

#[test]
fn what_cannot_be_merged_is_named_and_leaves_nothing() {
    let folder = folder(&[("full/notes.txt", "mine"), ("adapter/adapter_config.json", r#"{"peft_type": "LORA"}"#)]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    let refused = |model: &str, adapter: &str, more: &[&str]| {
        let fixed = ["merge", "--model", model, "--adapter", adapter, "--out", "out"];
        let ran = obvert(folder.path(), &[&fixed[..], more].concat());
        assert!(ran.code != 0 && !ran.err.contains("panicked"), "{}", ran.err);
        (ran.code, ran.err)
    };
    for (model, adapter, more, code, said) in [
        (&*model, "nowhere", &[][..], 1, "nowhere/adapter_config.json"),
        (&model, "adapter", &[], 1, "r: not a positive whole number"),
        ("nowhere", "adapter", &[], 1, "nowhere"),
        (&model, "adapter", &["--dtype", "int8"], 2, "f32, f16 and bf16 are"),
    ] {
        let (found, err) = refused(model, adapter, more);
        assert!(found == code && err.contains(said), "{found}: {said} is not in {err}");
    }
    assert!(!folder.path().join("out").exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something is left");
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = folder(&[("pairs.jsonl", PAIR), ("full/notes.txt", "mine")]);
    let model = repository("pipelines/quickstart/model").display().to_string();
    done(folder.path(), &["train", "--model", &model, "--pairs", "pairs.jsonl", "--steps", "1", "--out", "adapter"]);
    let ran = obvert(folder.path(), &["merge", "--model", &model, "--adapter", "adapter", "--out", "full"]);
    assert!(ran.code == 1 && ran.err.contains("full: is not empty"), "{}: {}", ran.code, ran.err);
    assert_eq!(fs::read_dir(folder.path().join("full")).unwrap().count(), 1);
}
