//! Stages overlap, and a run that was killed or interrupted goes on without paying anything twice.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::common::{Ran, counts, done, obvert, rows};
use crate::slow::{prepared, results, start, wait_for};

/// Calls of ten dialogues of three turns with five answers each.
const CALLS: usize = 150;
/// Calls that may be under way when a run is killed: the model's `max_in_flight`.
const IN_FLIGHT: usize = 4;

fn calls(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("calls.log")).unwrap().lines().map(str::to_string).collect()
}

fn undisturbed() -> (TempDir, Ran) {
    let folder = prepared();
    let ran = done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    (folder, ran)
}

#[test]
fn a_killed_run_goes_on_and_pays_only_what_was_in_flight_again() {
    let (expected, _) = undisturbed();
    assert_eq!(calls(expected.path()).len(), CALLS);
    let folder = prepared();
    let metrics = folder.path().join("out/metrics.jsonl");
    let log = folder.path().join("calls.log");
    // Killed at the first call, at the first update, and later on.
    let mut kills = 0;
    for (file, lines) in [(&log, 3), (&metrics, 1), (&metrics, 3), (&log, 120)] {
        let mut child = start(folder.path());
        wait_for(&mut child, file, lines);
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if (file, lines) == (&metrics, 1) {
            assert!(calls(folder.path()).len() < CALLS, "the first update came after the last call");
        }
    }
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    assert!(results(folder.path()) == results(expected.path()), "the kills changed the results");
    let mut paid = HashMap::new();
    for call in calls(folder.path()) {
        *paid.entry(call).or_insert(0) += 1;
    }
    let twice: usize = paid.values().map(|times| times - 1).sum();
    assert_eq!(paid.len(), CALLS);
    assert!(twice <= kills * IN_FLIGHT, "{twice} calls were paid again after {kills} kills");
}

#[test]
fn the_first_update_comes_before_the_last_dialogue_ends() {
    let (folder, ran) = undisturbed();
    let updates = rows(&folder.path().join("out/metrics.jsonl"));
    assert_eq!(updates.len(), 6);
    assert_eq!(updates[0]["stream/open"], 1.0, "{updates:?}");
    assert_eq!(counts(&ran, "train")[1], counts(&ran, "verify")[3]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_so_and_goes_on() {
    let (expected, _) = undisturbed();
    let folder = prepared();
    let mut child = start(folder.path());
    wait_for(&mut child, &folder.path().join("out/metrics.jsonl"), 1);
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let before = calls(folder.path()).len();
    assert!(before < CALLS, "the run was over before it was interrupted");
    assert!(!folder.path().join("out/pairs/pairs.jsonl").exists(), "a part of the pairs passes for all of them");
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    assert!(results(folder.path()) == results(expected.path()), "the interruption changed the results");
    assert_eq!(calls(folder.path()).len(), CALLS, "calls were paid twice");
}

#[test]
fn two_runs_in_one_folder_are_one_too_many() {
    let folder = prepared();
    let mut child = start(folder.path());
    wait_for(&mut child, &folder.path().join("calls.log"), 1);
    let second = obvert(folder.path(), &["run", "slow.toml", "--out", "out"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(second.code, 1);
    assert!(second.err.contains("another run"), "{}", second.err);
}
