//! Verdicts that are overruled and pairs that are vetoed while a run goes on.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{done, rows};
use crate::slow::prepared;
use crate::watch::{interrupt, start, wait_for};

/// The slow pipeline with a correction between judge and pair, and a veto after it. Its judge is a program, so nothing
/// verifies again what it said.
fn correctable() -> TempDir {
    let folder = prepared();
    let path = folder.path().join("slow.toml");
    let stages = r#"
[stage.corrections]
type = "corrections"
path = "corrections.jsonl"

[stage.vetoes]
type = "vetoes"
path = "vetoes.jsonl"

[stage.correct]
type = "correct"
from = "judge"
with = "corrections"

[stage.veto]
type = "veto"
from = "pair"
with = "vetoes"
"#;
    let pipeline = fs::read_to_string(&path).unwrap();
    let pair = "type = \"pair\"\nfrom = ";
    let pipeline = pipeline.replace(&format!("{pair}\"judge\""), &format!("{pair}\"correct\""));
    let (before, after) = pipeline.split_once("[stage.verify]").unwrap();
    let (_, sinks) = after.split_once("[stage.pairs]").unwrap();
    let sinks = sinks.replace("from = \"verify\"", "from = \"veto\"").replace("limit = 10", "limit = 4");
    fs::write(&path, format!("{before}{stages}\n[stage.pairs]{sinks}")).unwrap();
    write(folder.path(), &[], &[]);
    folder
}

fn write(folder: &Path, corrections: &[Value], vetoes: &[Value]) {
    for (name, rows) in [("corrections.jsonl", corrections), ("vetoes.jsonl", vetoes)] {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(folder.join("new"), text).unwrap();
        fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }
}

fn calls(folder: &Path) -> usize {
    fs::read_to_string(folder.join("calls.log")).map_or(0, |text| text.lines().count())
}

/// The pairs that a run has left, and why it set items aside.
fn left(out: &Path) -> (Vec<Value>, Vec<String>) {
    let reason = |row: &Value| row["reason"].as_str().unwrap().to_owned();
    // A run that goes on writes no file before there is something to say.
    let read =
        |file: &str| Some(out.join(file)).filter(|path| path.exists()).map(|path| rows(&path)).unwrap_or_default();
    (read("pairs/pairs.jsonl"), read("rejected.jsonl").iter().map(reason).collect())
}

#[test]
fn what_is_overruled_or_vetoed_is_as_if_it_had_always_been_so() {
    let folder = correctable();
    let folder = folder.path();
    let fresh = |name: &str, corrections: &[Value], vetoes: &[Value]| {
        write(folder, corrections, vetoes);
        done(folder, &["run", "slow.toml", "--out", name]);
        left(&folder.join(name))
    };
    let plain = fresh("plain", &[], &[]);
    let pair = plain.0.iter().find(|row| row["turn"] == 1).unwrap().clone();
    let verdict = pair["constraints"].as_array().unwrap().iter().find(|c| c["chosen"] == "yes").unwrap();
    let correction = json!({
        "dialogue": pair["dialogue"], "turn": 1, "sample": pair["provenance"]["chosen_sample"],
        "constraint": verdict["id"], "satisfied": false, "reason": "not at all", "response": pair["chosen"][0]["content"],
    });
    let veto = json!({ "pair": pair["id"], "reason": "too easy" });
    let corrected = fresh("corrected", std::slice::from_ref(&correction), &[]);
    let vetoed = fresh("vetoed", &[], std::slice::from_ref(&veto));
    let elsewhere = |rows: &[Value]| {
        let there = |row: &&Value| row["turn"] == 1 && row["dialogue"] == pair["dialogue"];
        rows.iter().filter(|row| !there(row)).cloned().collect::<Vec<_>>()
    };
    assert!(corrected.0 != plain.0 && elsewhere(&corrected.0) == elsewhere(&plain.0));
    assert_eq!(vetoed.0, plain.0.iter().filter(|row| row["id"] != pair["id"]).cloned().collect::<Vec<_>>());
    assert!(plain.1.is_empty() && vetoed.1 == ["vetoed: too easy"], "{:?}", vetoed.1);

    write(folder, &[], &[]);
    let mut child = start(folder);
    wait_for(&mut child, || left(&folder.join("out")) == plain);
    let paid = calls(folder);
    let steps: [(&[Value], &[Value], _); 4] = [
        (std::slice::from_ref(&correction), &[], &corrected),
        (&[], &[], &plain),
        (&[], std::slice::from_ref(&veto), &vetoed),
        (&[], &[], &plain),
    ];
    for (corrections, vetoes, expected) in steps {
        write(folder, corrections, vetoes);
        wait_for(&mut child, || left(&folder.join("out")) == *expected);
    }
    assert_eq!(calls(folder), paid, "a correction is no reason to ask a model");
    interrupt(child);
}
