//! `trace`: a pair's lineage, from the profile to the update that it was trained in.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::{done, folder, obvert, rows};
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
    assert!(unknown.code == 2 && unknown.err.contains("`nobody`: no record has this id or text"), "{}", unknown.err);
    let nowhere = obvert(here, &["trace", "slow.toml", id, "--out", "elsewhere"]);
    assert!(nowhere.code == 2 && nowhere.err.contains("no run has been here"), "{}", nowhere.err);
}

#[test]
fn what_was_set_aside_is_traced_by_its_id_to_what_it_was_made_of() {
    let profile = |text: &str| {
        format!(
            r#"{{"id": "p1", "name": "", "description": "{text}", "constraints": [{{"id": "c1", "text": "Be kind."}}]}}"#
        )
    };
    let personas = r#"{"id": "u1", "queries": ["Hello?"]}"#;
    let profiles = [profile("A shop."), profile(r#"A \"bar\".\n"#)].join("\n");
    let pipeline = concat!("name = \"twice\"\n", sessions!());
    let folder = folder(&[("twice.toml", pipeline), ("profiles.jsonl", &profiles), ("personas.jsonl", personas)]);
    done(folder.path(), &["run", "twice.toml", "--out", "out"]);
    let aside = &rows(&folder.path().join("out/rejected.jsonl"))[0];
    let record = aside["record"].as_str().unwrap();
    let traced = done(folder.path(), &["trace", "twice.toml", record, "--out", "out"]).out;
    // A group is known by its id, says why it was set aside, and leads to its members.
    assert!(
        traced.contains("session (session)\n  took 2 records, of p1\n  set aside: 2 profiles have the id `p1`"),
        "{traced}"
    );
    assert!(
        traced.contains("profiles (profiles)\n  ") && traced.contains(r#"A \"bar\".\n"#) && traced.contains("A shop."),
        "{traced}"
    );
    // So is what mentions it.
    for text in ["p1", "A \"bar\".\n"] {
        let mentioned = done(folder.path(), &["trace", "twice.toml", text, "--out", "out"]).out;
        assert!(mentioned.contains("set aside: 2 profiles"), "{mentioned}");
    }
}
