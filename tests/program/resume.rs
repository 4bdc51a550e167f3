//! Stages overlap, and a run that was killed or interrupted goes on without paying anything twice.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::common::{Ran, counts, done, folder, obvert, program, repository, rows};

/// Dialogues whose policy answers after 100 ms from a script; the tiny model is trained on them.
const PIPELINE: &str = r#"
name = "slow"

[run]
dialogues = 2

[model.tiny]
kind = "local"
path = "MODEL"

[model.policy]
kind = "scripted"
latency_ms = 100
max_in_flight = 4
log = "calls.log"
[[model.policy.rule]]
match = "."
reply = '{{ ["Bread is good.", "bread is good", "Bread, is it good? 5 say so!", "well, 3 loaves"] | pick }} {{ turn }}'

[stage.profiles]
type = "profiles"
path = "PROFILES"
limit = 10

[stage.personas]
type = "personas"
path = "personas.jsonl"

[stage.session]
type = "session"
from = "profiles"
with = "personas"

[stage.play]
type = "persona-play"
from = ["session", "next"]

[stage.respond]
type = "respond"
from = "play"
model = "policy"

[stage.judge]
type = "judge"
from = "respond"

[stage.next]
type = "next"
from = "judge"
turns = 3

[stage.reverse]
type = "reverse"
from = "profiles"

[stage.pair]
type = "pair"
from = "judge"
with = "reverse"

[stage.verify]
type = "verify"
from = "pair"

[stage.pairs]
type = "pairs"
from = "verify"

[stage.train]
type = "train"
from = "verify"
model = "tiny"
updates = 6
batch_size = 4
shuffle = 8
checkpoint_every = 1
lr = 1e-3
"#;

/// Calls of ten dialogues of three turns with five answers each.
const CALLS: usize = 150;
/// Calls that may be under way when a run is killed: the model's `max_in_flight`.
const IN_FLIGHT: usize = 4;

fn prepared() -> TempDir {
    prepared_with("")
}

/// With more settings of `train`.
fn prepared_with(settings: &str) -> TempDir {
    let path = |path: &str| repository(path).display().to_string();
    let pipeline = PIPELINE
        .replace("MODEL", &path("pipelines/quickstart/model"))
        .replace("PROFILES", &path("pipelines/quickstart/profiles.jsonl"));
    let pipeline = pipeline + settings;
    let persona = r#"{"id": "u1", "queries": ["What is bread?", "And tea?", "And the sea?"]}"#;
    folder(&[("slow.toml", &pipeline), ("personas.jsonl", persona)])
}

fn start(folder: &Path) -> Child {
    let mut command = program(folder, &["run", "slow.toml", "--out", "out"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until so many lines are in a file of the running program.
fn wait_for(child: &mut Child, file: &Path, lines: usize) {
    while fs::read_to_string(file).map_or(0, |text| text.lines().count()) < lines {
        assert!(child.try_wait().unwrap().is_none(), "the program ended before {} had {lines} lines", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn calls(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("calls.log")).unwrap().lines().map(str::to_string).collect()
}

/// What must not depend on how often a run was cut off.
fn results(folder: &Path) -> (Vec<u8>, Vec<u8>, Vec<serde_json::Value>) {
    let read = |file: &str| fs::read(folder.join("out").join(file)).unwrap();
    let mut metrics = rows(&folder.join("out/metrics.jsonl"));
    for row in &mut metrics {
        let row = row.as_object_mut().unwrap();
        row.remove("tokens/s");
        row.remove("stream/open");
    }
    (read("pairs/pairs.jsonl"), read("adapter/adapter_model.safetensors"), metrics)
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

/// Earlier pairs are trained on again, dialogues are held out, histories lose turns: all of it as if there had been no kill.
#[test]
fn replay_validation_and_short_histories_survive_a_kill() {
    let settings = "replay = { capacity = 12, ratio = 0.5 }\nvalidation = 0.3\nvalidate_every = 2\nmax_length = 100\n";
    let [expected, killed] = [0, 1].map(|_| prepared_with(settings));
    let ran = done(expected.path(), &["run", "slow.toml", "--out", "out"]);
    let metrics = killed.path().join("out/metrics.jsonl");
    for lines in [2, 5] {
        let mut child = start(killed.path());
        wait_for(&mut child, &metrics, lines);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    done(killed.path(), &["run", "slow.toml", "--out", "out", "--workers", "2"]);
    assert!(results(killed.path()) == results(expected.path()), "the kills changed the results");
    let (measured, updates): (Vec<_>, Vec<_>) =
        results(expected.path()).2.into_iter().partition(|row| row.get("eval_loss").is_some());
    let column =
        |rows: &[serde_json::Value], name: &str| rows.iter().map(|row| row[name].as_f64().unwrap()).collect::<Vec<_>>();
    // Half of four, or fewer where one that is drawn is too long.
    let replayed = column(&updates, "pairs/replayed");
    assert!(replayed[0] == 0.0 && replayed[1..].iter().all(|n| (1.0..=2.0).contains(n)), "{replayed:?}");
    let held = column(&measured, "eval_pairs");
    assert!(!held.is_empty() && held.is_sorted() && held[0] > 0.0, "{held:?}");
    let short = column(&updates, "pairs/shortened");
    assert!(short.is_sorted() && short[5] > 0.0 && ran.out.contains("lost the oldest turns"), "{short:?} {}", ran.out);
}

/// Pairs leave for the trainer with their mirrors: nothing is learnt yet in the first update, and nothing is odd in any.
#[test]
fn iopo_finds_its_mirrored_pairs_in_the_stream() {
    let folder = prepared_with("loss = \"iopo\"\n");
    done(folder.path(), &["run", "slow.toml", "--out", "out"]);
    let losses = results(folder.path()).2.iter().map(|row| row["loss"].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(losses.len(), 6);
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-5 && losses[5] < losses[0], "{losses:?}");
    let odd = folder.path().join("odd.toml");
    let text = fs::read_to_string(folder.path().join("slow.toml")).unwrap();
    fs::write(&odd, text.replace("batch_size = 4", "batch_size = 3")).unwrap();
    let refused = obvert(folder.path(), &["check", "odd.toml"]);
    assert!(refused.code == 2 && refused.err.contains("two by two"), "{}", refused.err);
}
