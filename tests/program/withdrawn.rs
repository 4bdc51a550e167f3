//! What is done about pairs that are withdrawn after they were trained on: the setting `withdrawn`, and the ledger.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{done, rows};
use crate::watch::{editable, edited, interrupt, left, start, wait_for, write};

/// The pipeline with settings of `train` in place of its own. All pairs are trained on.
fn with(settings: &str) -> (TempDir, Vec<String>) {
    let (folder, profiles) = editable();
    let path = folder.path().join("slow.toml");
    let pipeline = fs::read_to_string(&path).unwrap();
    let (before, _) = pipeline.split_once("updates = 6").unwrap();
    let settings = format!("updates = 1000\nbatch_size = 4\nshuffle = 8\nlr = 1e-3\n{settings}");
    fs::write(path, format!("{before}{settings}")).unwrap();
    (folder, profiles)
}

/// What runs of their own leave on these profiles.
fn fresh<const N: usize>(folder: &Path, steps: &[&[String]; N]) -> [(String, Vec<u8>); N] {
    steps.map(|profiles| {
        write(folder, profiles);
        done(folder, &["run", "slow.toml", "--out", "fresh"]);
        let made = left(folder, "fresh").unwrap();
        fs::remove_dir_all(folder.join("fresh")).unwrap();
        made
    })
}

/// The updates after which training started over: the last thing on their lines.
fn turns(log: &str) -> Vec<u64> {
    let lines = log.lines().filter(|line| line.contains("starts over"));
    lines.map(|line| line.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()).collect()
}

#[test]
fn with_rollback_the_adapter_is_that_of_a_run_that_never_had_others() {
    let (folder, profiles) = with("withdrawn = \"rollback\"\ncheckpoint_every = 3\n");
    let edited = edited(&profiles);
    let steps = [&profiles[..5], &profiles[..4], &edited, &profiles[..5]];
    let expected = fresh(folder.path(), &steps);
    write(folder.path(), steps[0]);
    let mut child = start(folder.path());
    for (profiles, expected) in steps.iter().zip(&expected) {
        write(folder.path(), profiles);
        wait_for(&mut child, || left(folder.path(), "out").is_some_and(|found| found == *expected));
    }
    write(folder.path(), &edited);
    std::thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    let log = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    // The fifth profile came after what the first checkpoint holds, the second one before.
    assert!(turns(&log)[0] == 3 && turns(&log)[1..].contains(&0), "{log}");
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    assert!(left(folder.path(), "out").unwrap() == expected[2], "what a killed run rolls back the next one does");
}

/// The ids of the pairs of a run, and of those of one dialogue.
fn ids(out: &Path, dialogue: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let pairs = rows(&out.join("pairs/pairs.jsonl"));
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    (pairs.iter().map(id).collect(), pairs.iter().filter(|row| row["dialogue"] == dialogue).map(id).collect())
}

#[test]
fn the_ledger_names_what_was_trained_on_and_went_or_came_late() {
    for (settings, done) in [("", "not replayed"), ("withdrawn = \"ignore\"\n", "kept")] {
        let (folder, profiles) = with(settings);
        let out = folder.path().join("out");
        let [(expected, adapter), (then, other)] = fresh(folder.path(), &[&profiles[..5], &edited(&profiles)]);
        write(folder.path(), &profiles[..5]);
        let mut child = start(folder.path());
        wait_for(&mut child, || {
            left(folder.path(), "out").is_some_and(|found| (&found.0, &found.1) == (&expected, &adapter))
        });
        let second: Value = serde_json::from_str(&profiles[1]).unwrap();
        let dialogue = format!("{}+u1", second["id"].as_str().unwrap());
        let (before, _) = ids(&out, &dialogue);
        write(folder.path(), &edited(&profiles));
        let ledger = out.join("state/train.ledger.jsonl");
        let late = || rows(&ledger).iter().any(|row| row["diff"] == 1);
        wait_for(&mut child, || left(folder.path(), "out").is_some_and(|found| found.0 == then) && late());
        interrupt(child);
        let (after, second) = ids(&out, &dialogue);
        let of = |diff: i64| rows(&ledger).into_iter().filter(move |row| row["diff"] == diff);
        let named = |diff| of(diff).map(|row| row["pair"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(named(-1), &before - &after);
        assert!(of(-1).all(|row| row["update"].as_u64().is_some_and(|update| update > 0) && row["done"] == done));
        // Those that came in the middle are named too; those of new rows come after all others.
        assert_eq!(named(1), &second - &before);
        assert!(of(1).all(|row| row["update"].is_null() && row["done"] == "trained on when it came"));
        assert!(left(folder.path(), "out").unwrap().1 != other, "what was trained on stays in the adapter");
    }
}
