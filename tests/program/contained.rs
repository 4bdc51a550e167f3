//! What a stage's code does wrong costs the items that it does it with.

use obvert_engine::registry::own_library;
use serde_json::json;
use tempfile::TempDir;

use crate::common::{Ran, assert_accounted, counts, done, folder, obvert, rows};

const PIPELINE: &str = r#"
name = "contained"
plugins = ["LIBRARY"]

[run]
RUN

[stage.rows]
type = "rows"
path = "rows.jsonl"

[stage.act]
type = "misbehave"
from = "rows"
ISOLATION

[stage.out]
type = "jsonl"
from = "act"
"#;

/// Rows that do these things, one after the other.
fn prepared(actions: &[&str], isolation: &str, run: &str) -> TempDir {
    let pipeline = PIPELINE.replace("LIBRARY", &own_library("obvert_misbehave").unwrap().display().to_string());
    let pipeline = pipeline.replace("ISOLATION", isolation).replace("RUN", run);
    let row = |(id, action): (usize, &&str)| json!({ "id": id, "do": action }).to_string() + "\n";
    let rows: String = actions.iter().enumerate().map(row).collect();
    folder(&[("contained.toml", &pipeline), ("rows.jsonl", &rows)])
}

/// Ids of the rows that came through, and those that were set aside with the reason.
fn outcome(folder: &TempDir) -> (Vec<i64>, Vec<(i64, String)>) {
    let id = |row: &serde_json::Value| row["id"].as_i64().unwrap();
    let rejected = rows(&folder.path().join("out/rejected.jsonl"));
    let rejected = rejected.iter().map(|row| (id(&row["item"]), row["reason"].as_str().unwrap().to_owned()));
    (rows(&folder.path().join("out/out.jsonl")).iter().map(id).collect(), rejected.collect())
}

fn ran(folder: &TempDir) -> Ran {
    let ran = done(folder.path(), &["run", "contained.toml", "--out", "out"]);
    assert_accounted(&ran);
    ran
}

#[test]
fn errors_and_panics_cost_their_items() {
    let actions = ["pass", "error", "twice", "panic", "drop", "pass"];
    for isolation in ["", "isolation = \"process\""] {
        let folder = prepared(&actions, isolation, "");
        let ran = ran(&folder);
        assert_eq!(counts(&ran, "act"), [6, 4, 2, 4, 0, 0]);
        let (passed, rejected) = outcome(&folder);
        assert_eq!(passed, [0, 2, 2, 5]);
        assert_eq!(rejected, [(1, "told to fail".into()), (3, "panicked: told to panic".into())]);
    }
}

/// Lines of the log have the stage and the record's id: the one by which `rejected.jsonl` knows it.
#[test]
fn what_a_stage_says_stands_in_the_log_with_its_record() {
    for isolation in ["", "isolation = \"process\""] {
        let folder = prepared(&["pass", "say", "say and fail"], isolation, "");
        let mut command =
            crate::common::program(folder.path(), &["run", "contained.toml", "--out", "out", "--log", "json"]);
        let output = command.env("OBVERT_LOG", "warn,stage=info,rejected=info").output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |target: &str| -> Vec<&serde_json::Value> {
            lines.iter().filter(|line| line["target"] == target).collect()
        };
        let [said, failed] = of("stage")[..] else { panic!("{text}") };
        assert_eq!((&said["message"], &said["level"]), (&"told to say so".into(), &"WARN".into()));
        assert!(said["stage"] == "act" && failed["stage"] == "act", "{text}");
        let aside = &rows(&folder.path().join("out/rejected.jsonl"))[0];
        assert_eq!((&failed["record"], &failed["message"]), (&aside["record"], &"told to fail".into()));
        assert_ne!(said["record"], failed["record"]);
        let [rejected] = of("rejected")[..] else { panic!("{text}") };
        assert_eq!((&rejected["stage"], &rejected["record"]), (&"act".into(), &aside["record"]));
    }
}

#[test]
fn a_process_that_ends_or_hangs_costs_the_item_it_was_at() {
    let folder = prepared(
        &["pass", "abort", "pass", "print", "exit", "hang", "pass", "error"],
        "isolation = \"process\"\ntimeout_s = 0.5",
        "",
    );
    ran(&folder);
    let (passed, rejected) = outcome(&folder);
    assert_eq!(passed, [0, 2, 3, 6]);
    let reasons = ["signal: 6", "exit status: 3", "no answer within 0.5 s (2 attempts)", "told to fail"];
    assert_eq!(rejected.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 4, 5, 7]);
    for ((_, reason), expected) in rejected.iter().zip(reasons) {
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_crash_a_hang_and_too_much_memory_cost_an_item_each() {
    let settings = "isolation = \"process\"\ntimeout_s = 2\nmemory_mb = 256";
    let folder = prepared(&["pass", "segfault", "pass", "abort", "hang", "allocate", "pass"], settings, "");
    ran(&folder);
    let (passed, rejected) = outcome(&folder);
    assert_eq!(passed, [0, 2, 6]);
    let expected = [(1, "signal: 11"), (3, "signal: 6"), (4, "no answer within 2 s"), (5, "signal: 6")];
    for ((id, reason), (expected, said)) in rejected.iter().zip(expected) {
        assert!(*id == expected && reason.contains(said), "{id}: {reason}");
    }
    assert_eq!(rejected.len(), 4);
}

#[test]
fn what_a_stage_must_not_ask_for_or_make_is_told() {
    for isolation in ["", "isolation = \"process\""] {
        let folder = prepared(&["flood", "ask", "pass"], isolation, "");
        ran(&folder);
        let (passed, rejected) = outcome(&folder);
        assert_eq!(passed, [2], "{isolation}");
        assert_eq!(rejected[0], (0, "it makes more than 64 MiB of one item".into()));
        assert!(rejected[1].0 == 1 && rejected[1].1.contains("`nobody`"), "{rejected:?}");
    }
}

#[test]
fn a_run_that_fails_too_often_stops() {
    let mut actions = ["pass"; 200];
    actions[..30].fill("error");
    for (run, stops) in [
        ("max_failures = 30", false),
        ("max_failures = 29", true),
        ("max_failure_share = 0.15", false),
        ("max_failure_share = 0.1", true),
    ] {
        let folder = prepared(&actions, "", run);
        let ran = obvert(folder.path(), &["run", "contained.toml", "--out", "out"]);
        assert_eq!(ran.code, i32::from(stops), "{run}: {}", ran.err);
        assert_eq!(ran.err.contains(run.split(' ').next().unwrap()), stops, "{}", ran.err);
        // What was set aside by then is told even so.
        assert_eq!(outcome_of_rejected(&folder), 30, "{run}");
    }
}

fn outcome_of_rejected(folder: &TempDir) -> usize {
    rows(&folder.path().join("out/rejected.jsonl")).len()
}

#[test]
fn what_cannot_be_isolated_is_refused() {
    let refused = |isolation: &str, kind: &str| {
        let folder = prepared(&[], isolation, "");
        let path = folder.path().join("contained.toml");
        let pipeline = std::fs::read_to_string(&path).unwrap().replace("type = \"misbehave\"", kind);
        std::fs::write(&path, pipeline).unwrap();
        let ran = obvert(folder.path(), &["check", "contained.toml"]);
        assert_eq!(ran.code, 2, "{}", ran.out);
        ran.err
    };
    let misbehave = "type = \"misbehave\"";
    assert!(refused("timeout_s = 1", misbehave).contains("needs `isolation = \"process\"`"));
    assert!(refused("isolation = \"thread\"", misbehave).contains("`isolation`"));
    let linked = refused("isolation = \"process\"", "type = \"sysbench-profile\"");
    assert!(linked.contains("only stages of plugins"), "{linked}");
}
