//! A run that is looked at and told what to do by way of its folder.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::common::{done, obvert, rows};
use crate::slow::{prepared, results, start, wait_for};

/// Calls of ten dialogues of three turns with five answers each.
const CALLS: usize = 150;

fn calls(folder: &Path) -> usize {
    fs::read_to_string(folder.join("calls.log")).unwrap().lines().count()
}

/// Waits until `top` says so of the running program in its first line.
fn wait_until(child: &mut Child, folder: &Path, state: &str) {
    while !obvert(folder, &["top", "out"]).out.starts_with(&format!("slow: {state}")) {
        assert!(child.try_wait().unwrap().is_none(), "the program ended before it was {state}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_paused_run_begins_no_call_until_it_is_resumed() {
    let (expected, folder) = (prepared(), prepared());
    done(expected.path(), &["run", "slow.toml", "--out", "out"]);
    let mut child = start(folder.path());
    wait_for(&mut child, &folder.path().join("calls.log"), 20);
    done(folder.path(), &["steer", "pause", "out"]);
    wait_until(&mut child, folder.path(), "paused");
    // Those that have begun take a tenth of a second.
    std::thread::sleep(Duration::from_millis(500));
    let paused = calls(folder.path());
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(calls(folder.path()), paused);
    assert!(paused < CALLS && child.try_wait().unwrap().is_none(), "{paused}");
    done(folder.path(), &["steer", "resume", "out"]);
    assert!(child.wait().unwrap().success());
    assert!(results(folder.path()) == results(expected.path()), "the pause changed the results");
    let top = done(folder.path(), &["top", "out"]).out;
    let trained = top.lines().any(|line| line.split_whitespace().take(2).eq(["train", "6/6"]));
    assert!(top.starts_with("slow: done") && trained, "{top}");
}

#[test]
fn a_drained_run_is_whole_and_another_goes_on_with_the_rest() {
    let (expected, folder) = (prepared(), prepared());
    done(expected.path(), &["run", "slow.toml", "--out", "out"]);
    let mut child = start(folder.path());
    wait_for(&mut child, &folder.path().join("calls.log"), 20);
    done(folder.path(), &["steer", "drain", "out"]);
    assert!(child.wait().unwrap().success());
    // Two dialogues were in play, perhaps others before them; what there is of pairs is of whole dialogues.
    let (all, drained) = (results(expected.path()).0, rows(&folder.path().join("out/pairs/pairs.jsonl")));
    let all = String::from_utf8(all).unwrap();
    let lines = fs::read_to_string(folder.path().join("out/pairs/pairs.jsonl")).unwrap();
    assert!(calls(folder.path()) < CALLS && calls(folder.path()).is_multiple_of(15), "{}", calls(folder.path()));
    assert!(!drained.is_empty() && lines.lines().all(|line| all.contains(line)) && lines.len() < all.len());
    let report = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(report.contains("This run was drained"));
    assert!(done(folder.path(), &["top", "out"]).out.starts_with("slow: drained"));
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    assert!(results(folder.path()) == results(expected.path()), "the drain changed the results");
    assert_eq!(calls(folder.path()), CALLS, "calls were paid twice");
}

#[test]
fn a_run_that_is_over_is_told_nothing() {
    let folder = prepared();
    let nothing = obvert(folder.path(), &["steer", "pause", "out"]);
    assert!(nothing.code == 2 && nothing.err.contains("out: no run has been here"), "{}", nothing.err);
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    let over = obvert(folder.path(), &["steer", "pause", "out"]);
    assert!(over.code == 2 && over.err.contains("out: the run is over"), "{}", over.err);
}

#[test]
fn what_a_stage_makes_is_seen_while_somebody_looks() {
    let folder = prepared();
    let missing = obvert(folder.path(), &["tap", "judge", "out"]);
    assert!(missing.code == 2 && missing.err.contains("out: no run has been here"), "{}", missing.err);
    let mut child = start(folder.path());
    wait_for(&mut child, &folder.path().join("calls.log"), 10);
    wait_until(&mut child, folder.path(), "running");
    let unknown = obvert(folder.path(), &["tap", "juge", "out"]);
    assert!(unknown.code == 2 && unknown.err.contains("it has profiles, personas"), "{}", unknown.err);
    let traced = obvert(folder.path(), &["trace", "slow.toml", "p1", "--out", "out"]);
    assert!(traced.code == 2 && traced.err.contains("want it to be over"), "{}", traced.err);
    let tapped = done(folder.path(), &["tap", "respond", "out", "-n", "3"]).out;
    let lines: Vec<serde_json::Value> = tapped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["diff"] == 1), "{tapped}");
    assert!(lines.iter().all(|line| line["record"]["text"].is_string()), "{tapped}");
    // Once more, at once: nothing that was seen is seen again.
    let again = done(folder.path(), &["tap", "respond", "out", "-n", "3"]).out;
    assert!(again.lines().count() == 3 && again.lines().all(|line| !tapped.contains(line)), "{again}");
    // Of a sink, what reaches it.
    let sunk = done(folder.path(), &["tap", "pairs", "out", "-n", "1"]).out;
    assert!(sunk.contains("\"chosen\""), "{sunk}");
    assert!(child.wait().unwrap().success());
    // A run that is over makes nothing.
    assert_eq!(done(folder.path(), &["tap", "respond", "out"]).out, "");
}

/// However much more there is to read: rows that wait for credit, and those that nobody has read yet.
#[test]
fn a_drained_run_reads_no_further() {
    let pipeline = r#"
name = "slow"
[run]
records = 2
[model.policy]
kind = "scripted"
latency_ms = 20
log = "calls.log"
[[model.policy.rule]]
match = "."
reply = "Well."
[stage.profiles]
type = "profiles"
path = "profiles.jsonl"
[stage.reverse]
type = "reverse"
from = "profiles"
model = "policy"
"#;
    let profile = |n: u32| {
        let constraint = serde_json::json!({ "id": "c", "text": format!("Mention {n}.") });
        serde_json::json!({ "id": n.to_string(), "description": "", "constraints": [constraint] }).to_string() + "\n"
    };
    let profiles: String = (0..20_000).map(profile).collect();
    let folder = crate::common::folder(&[("slow.toml", pipeline), ("profiles.jsonl", &profiles)]);
    let mut child = start(folder.path());
    wait_for(&mut child, &folder.path().join("calls.log"), 5);
    wait_until(&mut child, folder.path(), "running");
    done(folder.path(), &["steer", "drain", "out"]);
    assert!(child.wait().unwrap().success());
    let top = done(folder.path(), &["top", "out"]).out;
    let taken: u32 =
        top.lines().find_map(|line| line.strip_prefix("profiles")?.split_whitespace().next()?.parse().ok()).unwrap();
    assert!(top.starts_with("slow: drained") && (1..2_000).contains(&taken), "{top}");
}
