//! Exported folders are read by the code of their tools, and TRL computes our loss with the class that comes with its rows.

use serde_json::{Value, json};

use crate::common::{done, folder, repository, rows};
use crate::python::python;

/// What the pairs differ in.
const GAPS: [u32; 4] = [1, 4, 2, 7];

fn pairs() -> String {
    let said = |role: &str, content: &str| json!([{"role": role, "content": content}]);
    let row = |(index, (query, chosen, rejected)): (usize, (&str, &str, &str))| {
        let g = GAPS[index];
        let row = json!({
            "prompt": said("user", query), "chosen": said("assistant", chosen), "rejected": said("assistant", rejected),
            "g": g, "id": format!("p{index}"), "dialogue": "d", "reversed": ["Shout."],
        });
        row.to_string()
    };
    let talk = [
        ("What do you know about bread?", "Bread is warm.", "bread is warm and i like it in the kitchen"),
        ("And tea?", "Tea is sweet!", "tea"),
        ("And the sea?", "The sea is wide, and cold.", "Sea? 3 of them."),
        ("Why?", "I have seen it.", "well, why not"),
    ];
    talk.into_iter().enumerate().map(row).collect::<Vec<_>>().join("\n")
}

fn column(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// -log sigmoid(0.1 D - gamma g), the mean over the pairs, from the log-probs that `obvert logprobs` has printed.
fn loss(said: &Value, gamma: f64) -> f64 {
    let [[pc, pr], [rc, rr]] =
        ["policy", "reference"].map(|side| ["chosen", "rejected"].map(|response| column(&said[side][response])));
    let term = |(at, g): (usize, u32)| {
        let difference = (pc[at] - rc[at]) - (pr[at] - rr[at]);
        (1.0 + (gamma * f64::from(g) - 0.1 * difference).exp()).ln()
    };
    GAPS.into_iter().enumerate().map(term).sum::<f64>() / 4.0
}

#[test]
fn trl_computes_our_loss_with_the_margin() {
    let Some(python) = python("trl_computes_our_loss_with_the_margin") else { return };
    let scratch = folder(&[("pairs.jsonl", &pairs())]);
    let here = scratch.path();
    let model = repository("pipelines/quickstart/model").display().to_string();
    let trained = ["train", "--model", &model, "--pairs", "pairs.jsonl", "--batch-size", "4", "--schedule", "constant"];
    done(here, &[&trained[..], &["--steps", "6", "--lr", "3e-3", "--out", "adapter"]].concat());
    let logprobs = ["logprobs", "--model", &model, "--adapter", "adapter", "--batch", "pairs.jsonl"];
    let ours: Value = serde_json::from_str(&done(here, &logprobs).out).unwrap();
    // The loss of our trainer itself: of the first update from that adapter, the base being the reference.
    done(here, &[&trained[..], &["--adapter", "adapter", "--steps", "1", "--out", "step"]].concat());
    let step = rows(&here.join("step/metrics.jsonl"))[0]["loss"].as_f64().unwrap();
    done(here, &["export", "pairs.jsonl", "--to", "trl", "--out", "trl", "--model", &model]);
    let path = |name: &str| here.join(name).display().to_string();
    let theirs = python.json("margin.py", &[&path("trl"), &model, &path("adapter")]);
    let of = |name: &str| theirs[name]["loss"].as_f64().unwrap();
    for (name, gamma) in [("rpo", 0.05), ("precomputed", 0.05), ("none", 0.0), ("large", 0.5)] {
        let (found, expected) = (of(name), loss(&ours, gamma));
        assert!((found - expected).abs() < 1e-5, "{name}: {found}, ours {expected}");
        let [rewards, without] = [name, "dpo"].map(|name| column(&theirs[name]["rewards"]));
        assert!(rewards.len() == 4 && rewards == without, "{name}: rewards are logged without the margin: {theirs}");
        eprintln!("{name}: gamma {gamma}: TRL's loss {found:.8}, ours {expected:.8}");
    }
    assert!((of("none") - of("dpo")).abs() < 1e-12 && (of("rpo") - step).abs() < 1e-5, "{theirs} {step}");
    assert!(of("large") - of("rpo") > 0.1 && theirs["large"]["norm"] != theirs["dpo"]["norm"], "{theirs}");
    eprintln!("obvert train: {step:.8}; TRL's DPO: {:.8}", of("dpo"));
    // The script that comes with the rows runs as it is.
    let said = python.run(&path("trl/train.py"), &[]);
    assert!(here.join("trl/out/adapter_model.safetensors").exists(), "{said}");
}

#[test]
fn the_tools_read_what_is_exported() {
    let Some(python) = python("the_tools_read_what_is_exported") else { return };
    let scratch = folder(&[("pairs.jsonl", &pairs())]);
    for to in ["trl", "llama-factory", "axolotl", "openrlhf"] {
        done(scratch.path(), &["export", "pairs.jsonl", "--to", to, "--out", to]);
    }
    let model = repository("pipelines/quickstart/model").display().to_string();
    let found = python.json("export.py", &[scratch.path().to_str().unwrap(), &model]);
    for (name, found) in found.as_object().unwrap() {
        assert!(found["rows"] == 4 && found["nulls"] == json!([]), "{name}: {found}");
    }
    let of_tool = |name: &str, first: Value| {
        let read = &found[name]["read"];
        assert!(read.is_null() || read[1] == first, "{name}: {read}");
    };
    of_tool("llama-factory", json!([2, 1, ""]));
    let prompt = "<s><|user|>And tea?<|end|><|assistant|>";
    let rendered = json!([prompt, "Tea is sweet!<|end|>", "tea<|end|>"]);
    of_tool("axolotl", rendered.clone());
    of_tool("openrlhf", rendered);
}
