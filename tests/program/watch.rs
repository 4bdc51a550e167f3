//! `run --watch`: inputs that are edited while a run goes on, and between runs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{Ran, counts, done, program, repository};
use crate::slow::prepared_with;

/// The pipeline on profiles of its own, which can be edited.
pub fn editable() -> (TempDir, Vec<String>) {
    editable_with("")
}

/// With more settings of `train`.
pub fn editable_with(settings: &str) -> (TempDir, Vec<String>) {
    let folder = prepared_with(settings);
    let original = repository("pipelines/quickstart/profiles.jsonl").display().to_string();
    let pipeline = fs::read_to_string(folder.path().join("slow.toml")).unwrap();
    fs::write(folder.path().join("slow.toml"), pipeline.replace(&original, "profiles.jsonl")).unwrap();
    let profiles: Vec<String> = fs::read_to_string(original).unwrap().lines().take(8).map(str::to_owned).collect();
    write(folder.path(), &profiles[..5]);
    (folder, profiles)
}

/// Replaces the profiles at once, as editors do.
pub fn write(folder: &Path, profiles: &[String]) {
    fs::write(folder.join("new"), profiles.join("\n")).unwrap();
    fs::rename(folder.join("new"), folder.join("profiles.jsonl")).unwrap();
}

/// The third row goes, the second says something else under its id, and two come after the others.
pub fn edited(profiles: &[String]) -> Vec<String> {
    let id = |row: &str| serde_json::from_str::<serde_json::Value>(row).unwrap()["id"].to_string();
    let second = profiles[7].replace(&id(&profiles[7]), &id(&profiles[1]));
    [&profiles[0], &second, &profiles[3], &profiles[4], &profiles[5], &profiles[6]].map(String::clone).into()
}

pub fn start(folder: &Path) -> Child {
    let mut command = program(folder, &["run", "slow.toml", "--out", "out", "--watch"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a run leaves, apart from the times in it.
pub fn left(folder: &Path, out: &str) -> Option<(String, Vec<u8>)> {
    let pairs = fs::read_to_string(folder.join(out).join("pairs/pairs.jsonl")).ok()?;
    let adapter = fs::read(folder.join(out).join("adapter/adapter_model.safetensors")).ok()?;
    Some((pairs, adapter))
}

/// Waits for what a run that goes on is to leave.
pub fn wait_for(child: &mut Child, is_there: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_there() {
        assert!(child.try_wait().unwrap().is_none(), "the run has ended");
        assert!(begin.elapsed() < Duration::from_secs(120), "what is expected does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn interrupt(child: Child) -> Ran {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap().into()
}

/// Whatever was edited in between, the pairs are those that a fresh run makes; where rows only came, the adapter is too, bit for
/// bit. (What was trained on and then goes stays in it.)
#[test]
fn edits_are_followed_to_what_a_fresh_run_makes() {
    let (folder, profiles) = editable();
    let fresh = |rows: &[String], out: &str| {
        write(folder.path(), rows);
        done(folder.path(), &["run", "slow.toml", "--out", out]);
        left(folder.path(), out).unwrap()
    };
    let edited = edited(&profiles);
    let steps = [(&profiles[..3], "first"), (&profiles[..5], "second"), (&edited, "third"), (&profiles[..5], "fourth")];
    let expected = steps.map(|(rows, out)| fresh(rows, out));
    write(folder.path(), steps[0].0);
    let mut child = start(folder.path());
    for (at, (rows, _)) in steps.iter().enumerate() {
        write(folder.path(), rows);
        let (pairs, adapter) = &expected[at];
        wait_for(&mut child, || {
            left(folder.path(), "out").is_some_and(|found| found.0 == *pairs && (at > 1 || found.1 == *adapter))
        });
    }
    // The pairs are there; the trainer may still be at work on them.
    let ran = interrupt(child);
    assert!(ran.code == 0 || ran.err.contains("interrupted"), "{}\n{}", ran.out, ran.err);
    assert!(left(folder.path(), "out").unwrap().0 == expected[3].0);
    // What was there before costs nothing again.
    let ran = done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    assert_eq!(counts(&ran, "respond")[4], 0, "{}", ran.out);
}

/// A run that follows its inputs and has nothing to do ends as a whole one when it is told to.
#[test]
fn a_quiet_run_that_is_interrupted_is_whole() {
    let (folder, _) = editable();
    done(folder.path(), &["run", "slow.toml", "--out", "whole"]);
    let whole = left(folder.path(), "whole").unwrap();
    let mut child = start(folder.path());
    wait_for(&mut child, || left(folder.path(), "out").is_some_and(|found| found == whole));
    // The adapter is written before the run hears of it.
    std::thread::sleep(Duration::from_secs(2));
    let ran = interrupt(child);
    assert!(ran.code == 0 && ran.out.contains("everything is in"), "{}\n{}", ran.out, ran.err);
}

/// Also by a run that goes on: its trainer is ahead of what it is told, and pairs come after it has caught up at the end.
#[test]
fn a_run_that_goes_on_takes_more_rows_as_a_fresh_one_would() {
    let (folder, profiles) = editable();
    done(folder.path(), &["run", "slow.toml", "--out", "fresh"]);
    let expected = left(folder.path(), "fresh").unwrap();
    write(folder.path(), &profiles[..3]);
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    let before = left(folder.path(), "out").unwrap();
    assert!(before != expected);
    let mut child = start(folder.path());
    // Until the run has gone through what is there, its files are those of the first one.
    std::thread::sleep(Duration::from_secs(3));
    assert!(left(folder.path(), "out").unwrap() == before);
    write(folder.path(), &profiles[..5]);
    wait_for(&mut child, || left(folder.path(), "out").is_some_and(|found| found == expected));
    interrupt(child);
}

/// A row keeps its place from run to run, so that what was trained on stays the beginning of what is trained on.
#[test]
fn an_edit_between_two_runs_is_recomputed_alone() {
    let (folder, profiles) = editable();
    let first = done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    let all = counts(&first, "respond")[4];
    let mut more = vec![profiles[6].clone()];
    more.extend_from_slice(&profiles[..5]);
    write(folder.path(), &more);
    let second = done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    let new = counts(&second, "respond")[4];
    assert!(new > 0 && new * 4 < all * 2, "{new} calls for one of six rows, {all} for five");
    assert!(!second.err.contains("starts over"), "{}", second.err);
}
