//! A folder as a run leaves it, and a page for it.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use obvert_api::erased::encode;
use obvert_api::record::{Judged, Pair};
use obvert_engine::{ModelCount, Observer, StageCount};
use obvert_live::page::{Site, listen, serve};
use obvert_live::records::{Log, Name};
use obvert_live::{Board, Stage, Training};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A text that fits no phone, with what a page must not take for its own.
pub const HOSTILE: &str =
    "<script>alert('x')</script> & \"quoted\" unbreakable_unbreakable_unbreakable_unbreakable_unbreakable";

/// The folder of a run under way, with so many pairs.
pub fn run(pairs: usize) -> TempDir {
    let out = tempfile::tempdir().unwrap();
    let state = out.path().join("state");
    fs::create_dir(&state).unwrap();
    board(out.path(), |_| {});
    let rows = (1..=60).map(|step| json!({ "step": step, "loss": 1.0 / f64::from(step), "rewards/chosen": 0.1, "rewards/rejected": -0.1, "rewards/margins": 0.2, "rewards/accuracies": 0.9 }));
    fs::write(out.path().join("metrics.jsonl"), rows.map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    let log = Log::begin(out.path(), &Name::read("pair.Pair").unwrap()).unwrap();
    (0..pairs).for_each(|n| log.see(&encode(&pair(n)).unwrap(), 1));
    log.flush();
    let log = Log::begin(out.path(), &Name::read("judge.Judged").unwrap()).unwrap();
    (0..40).for_each(|n| log.see(&encode(&judged(n)).unwrap(), 1));
    log.flush();
    out
}

/// Writes the board of a run, changed by so much.
pub fn board(out: &Path, change: impl FnOnce(&mut Board)) {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let stage = |name: &str, from: &[&str], inputs| {
        let count = StageCount {
            name: name.into(),
            kind: name.into(),
            inputs,
            done: 20,
            busy_s: 3.0,
            outputs: 20,
            ..StageCount::default()
        };
        Stage { count, from: from.iter().map(|from| from.to_string()).collect(), with: Vec::new() }
    };
    let mut stages = vec![
        stage("profiles", &[], 20),
        stage("play", &["profiles", "next"], 20),
        stage("respond", &["play"], 32),
        stage("judge", &["respond"], 20),
        stage("next", &["judge"], 20),
        stage("reverse", &["profiles"], 20),
        stage("pair", &["judge"], 20),
        stage(&HOSTILE.replace(['<', '>'], ""), &["pair"], 123_456_789),
    ];
    stages[6].with = vec!["reverse".into()];
    let usage = [("respond".into(), Default::default())].into();
    let trained = obvert_stages::Training { updates: 60, planned: 80, ..Default::default() };
    let training = Training { of: trained, ..Training::default() };
    let mut board = Board {
        name: "tea".into(),
        began: now - 90.0,
        // A run is not lost while the test lasts.
        written: now + 3600.0,
        stages,
        models: vec![ModelCount { name: "policy".into(), queued: 7, in_flight: 4, usage }],
        trainings: [("train".into(), training)].into(),
        vetoes: Some(out.join("vetoes.jsonl")),
        corrections: Some(out.join("corrections.jsonl")),
        ..Board::default()
    };
    change(&mut board);
    fs::write(out.join("state/board.json"), serde_json::to_vec(&board).unwrap()).unwrap();
}

pub fn pair(n: usize) -> Pair {
    let rule = |id: &str, reversed: bool| {
        let text = if reversed { format!("Do not mention {id}.") } else { format!("Mention {id}.") };
        json!({ "id": id, "text": text, "original": format!("Mention {id}."), "reversed": reversed, "check": null, "active": true,
            "chosen": !reversed, "rejected": reversed })
    };
    let prompt: Value = json!([{ "role": "system", "content": format!("You serve tea. {HOSTILE}") }, { "role": "user", "content": "What is there?" }]);
    let pair = json!({
        "id": format!("{n:016x}"), "dialogue": format!("d{n}"), "turn": 0, "profile": "waiter", "prompt": prompt,
        "chosen": format!("Cup number {n}. {HOSTILE}"), "rejected": "Milk.", "g": 2, "case": 6,
        "constraints": [rule("tea", true), rule("milk", false)], "chosen_sample": 0, "rejected_sample": 1,
        "chosen_model": "m", "rejected_model": "m",
    });
    serde_json::from_value(pair).unwrap()
}

fn judged(n: usize) -> Judged {
    let constraint = json!({ "id": "tea", "text": "Mention tea.", "when": null, "check": null });
    let profile = json!({ "id": "waiter", "name": "Finn", "description": "A waiter.", "skills": [], "constraints": [constraint] });
    let session =
        json!({ "dialogue": format!("d{n}"), "profile": profile, "persona": { "id": "u" }, "turn": 0, "history": [] });
    let turn = json!({ "session": session, "query": "What is there?", "active": ["tea"] });
    let judged = json!({
        "response": { "turn": turn, "sample": 0, "text": format!("Only milk {n}."), "model": "m" },
        "verdicts": [{ "constraint": "tea", "satisfied": false, "reason": "no tea", "by": "program" }],
    });
    serde_json::from_value(judged).unwrap()
}

/// A page for a folder; its address.
pub fn page(out: &Path, token: Option<&str>) -> String {
    let site = Site { out: out.to_owned(), token: token.map(str::to_owned) };
    let listener = listen(([127, 0, 0, 1], 0).into(), &site).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(listener, site));
    format!("http://{address}")
}
