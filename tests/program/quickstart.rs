//! The quickstart in small: every file that a run leaves, and what holds of every pair.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use obvert_constraints::Constraint;
use serde_json::Value;

use crate::common::{Ran, assert_accounted, counts, done, folder, repository, rows};

/// A few profiles of the quickstart, with settings to match.
fn run(folder: &Path, out: &str, more: &[&str]) -> Ran {
    let pipeline = repository("pipelines/quickstart.toml");
    let small = ["profiles.limit=10", "heldout.limit=6", "train.updates=4", "train.batch_size=16", "train.shuffle=32"];
    let set: Vec<&str> = small.iter().flat_map(|value| ["--set", value]).collect();
    done(folder, &[&["run", pipeline.to_str().unwrap(), "--out", out], &set[..], more].concat())
}

/// The checks of the quickstart's profiles, by profile and constraint.
fn checks() -> HashMap<(String, String), Constraint> {
    let mut checks = HashMap::new();
    for profile in rows(&repository("pipelines/quickstart/profiles.jsonl")) {
        for constraint in profile["constraints"].as_array().unwrap() {
            let key = (profile["id"].as_str().unwrap().into(), constraint["id"].as_str().unwrap().into());
            checks.insert(key, Constraint::from_json(&constraint["check"]).unwrap());
        }
    }
    checks
}

/// What a pair promises: under its prompt the chosen response is perfect and the rejected one violates exactly g.
fn assert_noise_free(row: &Value, checks: &HashMap<(String, String), Constraint>) {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let (system, chosen, rejected) =
        (text(&row["prompt"][0]["content"]), text(&row["chosen"][0]["content"]), text(&row["rejected"][0]["content"]));
    let mut violated = 0;
    for constraint in row["constraints"].as_array().unwrap() {
        let original = &checks[&(text(&row["profile"]), text(&constraint["id"]))];
        let shown = if constraint["reversed"] == true { original.reverse() } else { original.clone() };
        assert!(system.contains(&text(&constraint["text"])), "{constraint} is not in {system}");
        assert!(shown.check(&chosen), "the chosen response violates {constraint}: {chosen}");
        violated += u64::from(!shown.check(&rejected));
    }
    assert_eq!(violated, row["g"].as_u64().unwrap(), "{row}");
}

#[test]
fn a_run_leaves_everything_and_a_second_one_changes_nothing() {
    let folder = folder(&[]);
    let first = run(folder.path(), "one", &[]);
    let one = folder.path().join("one");
    assert_accounted(&first);
    for file in [
        "pairs/pairs.jsonl",
        "pairs/pairs.parquet",
        "pairs/README.md",
        "pairs/llama-factory/dataset_info.json",
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "metrics.jsonl",
        "rejected.jsonl",
        "scores.json",
        "report.html",
    ] {
        assert!(one.join(file).is_file(), "{file} is missing");
    }
    assert_eq!(counts(&first, "play")[3], 30, "ten dialogues of three turns");
    let pairs = rows(&one.join("pairs/pairs.jsonl"));
    assert_eq!(pairs.len() as i64, counts(&first, "pairs")[0]);
    let checks = checks();
    pairs.iter().for_each(|pair| assert_noise_free(pair, &checks));
    assert!(pairs.iter().any(|pair| pair["turn"] == 2), "pairs come from later turns too");
    assert_eq!(rows(&one.join("metrics.jsonl")).len(), 4);
    let scores: Value = serde_json::from_slice(&fs::read(one.join("scores.json")).unwrap()).unwrap();
    assert_eq!((scores[0]["model"].as_str(), scores[0]["turns"].as_u64()), (Some("base"), Some(18)));
    assert_eq!(scores[1]["turns"], 18, "the adapter answers as many turns");
    assert!(first.out.contains("base (before)") && first.out.contains("trained (after)"), "{}", first.out);

    let files = ["pairs/pairs.jsonl", "adapter/adapter_model.safetensors", "scores.json", "metrics.jsonl"];
    let read = |out: &str, file: &str| fs::read(folder.path().join(out).join(file)).unwrap();
    let before = files.map(|file| read("one", file));
    let again = run(folder.path(), "one", &[]);
    for stage in ["play", "respond", "exam-play", "exam-respond"] {
        assert_eq!(counts(&again, stage)[4], 0, "{stage} calls again");
    }
    assert!(before == files.map(|file| read("one", file)), "a second run changed something");

    run(folder.path(), "two", &["--workers", "2"]);
    for file in ["pairs/pairs.jsonl", "adapter/adapter_model.safetensors", "scores.json"] {
        assert!(read("one", file) == read("two", file), "{file} differs with two workers");
    }
}

#[test]
fn an_edited_profile_changes_its_own_dialogue_only() {
    let profiles = fs::read_to_string(repository("pipelines/quickstart/profiles.jsonl")).unwrap();
    let folder = folder(&[("profiles.jsonl", &profiles)]);
    let file = folder.path().join("profiles.jsonl");
    let set = ["--set", "profiles.path=profiles.jsonl"];
    run(folder.path(), "out", &set);
    let before = rows(&folder.path().join("out/pairs/pairs.jsonl"));
    fs::write(&file, profiles.replacen("You never rush.", "You are never late.", 1)).unwrap();
    let ran = run(folder.path(), "out", &set);
    // Three turns of the first dialogue, five answers each; play asks again as the history differs.
    assert_eq!(counts(&ran, "respond")[4], 15);
    let after = rows(&folder.path().join("out/pairs/pairs.jsonl"));
    let others = |rows: &[Value]| rows.iter().filter(|row| row["profile"] != "p001").cloned().collect::<Vec<_>>();
    assert!(others(&before) == others(&after), "pairs of other profiles changed");
    assert!(after.iter().filter(|row| row["profile"] == "p001").all(|row| row.to_string().contains("never late")));
}
