//! `trace`: a pair's lineage, from the profile to the update that it was trained in.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::{done, obvert, rows};
use crate::slow::prepared;

#[test]
fn a_pair_is_traced_to_what_it_was_made_of_and_trained_in() {
    let folder = prepared();
    let (here, out) = (folder.path(), folder.path().join("out"));
    done(here, &["run", "slow.toml", "--out", "out"]);
    let pairs = rows(&out.join("pairs/pairs.jsonl"));
    let updates = rows(&out.join("state/train.updates.jsonl"));
    let trained: Vec<&str> =
        updates.iter().flat_map(|update| update["pairs"].as_array().unwrap()).filter_map(Value::as_str).collect();
    assert_eq!(trained.len(), 24, "6 updates of 4 pairs");
    assert_eq!(trained.iter().collect::<BTreeSet<_>>().len(), 24, "each is new once");
    // One of a later turn: its lineage is longer.
    let late = |pair: &&Value| pair["turn"] == 1 && trained.contains(&pair["id"].as_str().unwrap());
    let pair = pairs.iter().find(late).unwrap();
    let (id, of) = (pair["id"].as_str().unwrap(), &pair["provenance"]);
    let traced = done(here, &["trace", "slow.toml", id, "--out", "out"]).out;
    let lines: Vec<Value> = done(here, &["trace", "slow.toml", id, "--out", "out", "--json"])
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let made = |stage: &str| lines.iter().filter(|line| line["stage"] == stage && line.get("record").is_some()).count();
    let samples = made("respond");
    assert!(made("profiles") == 1 && made("personas") == 1, "{traced}");
    assert!(made("session") == 1 && made("play") == 2 && made("pair") == 1 && made("verify") == 1, "{traced}");
    // Both responses of its turn, and those of the one before; no other dialogue's.
    let own = lines.iter().filter(|line| line["stage"] == "respond").filter_map(|line| line.get("record"));
    let texts: Vec<&str> = own
        .filter(|record| record["turn"]["session"]["turn"] == 1)
        .filter_map(|record| record["text"].as_str())
        .collect();
    assert!(texts.len() == 2 && samples > 2, "{traced}");
    assert!(
        ["chosen", "rejected"].iter().all(|side| texts.contains(&pair[side][0]["content"].as_str().unwrap())),
        "{traced}"
    );
    assert!(
        lines.iter().filter_map(|line| line.get("record")).all(
            |record| record.to_string().contains(pair["dialogue"].as_str().unwrap())
                || record["profile"] == pair["profile"]
                // The rows that it began with.
                || pair["dialogue"].as_str().unwrap().contains(record["id"].as_str().unwrap_or("?"))
        ),
        "{traced}"
    );
    let step =
        updates.iter().position(|update| update["pairs"].as_array().unwrap().iter().any(|own| *own == *id)).unwrap()
            + 1;
    let said = [
        format!("train (train)\n  update {step}\n"),
        format!(
            ": sample {} chosen, {} rejected, g {}, reversed",
            of["chosen_sample"], of["rejected_sample"], pair["g"]
        ),
        "policy sample".to_owned(),
        ": in the memo since".to_owned(),
    ];
    said.iter().for_each(|text| assert!(traced.contains(text), "{text}: {traced}"));
    assert!(!traced.contains("to be made"), "{traced}");
    let unknown = obvert(here, &["trace", "slow.toml", "nobody", "--out", "out"]);
    assert!(unknown.code == 2 && unknown.err.contains("`nobody`: no record has this text"), "{}", unknown.err);
    let nowhere = obvert(here, &["trace", "slow.toml", id, "--out", "elsewhere"]);
    assert!(nowhere.code == 2 && nowhere.err.contains("no run has been here"), "{}", nowhere.err);
}
