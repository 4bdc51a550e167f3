//! A pipeline whose dialogues take their time, and runs of it that can be cut off.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::common::{folder, program, repository, rows};

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

pub fn prepared() -> TempDir {
    prepared_with("")
}

/// With more settings of `train`.
pub fn prepared_with(settings: &str) -> TempDir {
    changed(|pipeline| pipeline + settings)
}

/// With another pipeline made of it.
pub fn changed(change: impl Fn(String) -> String) -> TempDir {
    let path = |path: &str| repository(path).display().to_string();
    let pipeline = PIPELINE
        .replace("MODEL", &path("pipelines/quickstart/model"))
        .replace("PROFILES", &path("pipelines/quickstart/profiles.jsonl"));
    let pipeline = change(pipeline);
    let persona = r#"{"id": "u1", "queries": ["What is bread?", "And tea?", "And the sea?"]}"#;
    folder(&[("slow.toml", &pipeline), ("personas.jsonl", persona)])
}

pub fn start(folder: &Path) -> Child {
    let mut command = program(folder, &["run", "slow.toml", "--out", "out"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until so many lines are in a file of the running program.
pub fn wait_for(child: &mut Child, file: &Path, lines: usize) {
    while fs::read_to_string(file).map_or(0, |text| text.lines().count()) < lines {
        assert!(child.try_wait().unwrap().is_none(), "the program ended before {} had {lines} lines", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What must not depend on how often a run was cut off.
pub fn results(folder: &Path) -> (Vec<u8>, Vec<u8>, Vec<serde_json::Value>) {
    let read = |file: &str| fs::read(folder.join("out").join(file)).unwrap();
    let updates = rows(&folder.join("out/state/train.updates.jsonl"));
    let mut metrics = rows(&folder.join("out/metrics.jsonl"));
    for row in &mut metrics {
        let row = row.as_object_mut().unwrap();
        row.remove("tokens/s");
        row.remove("stream/open");
        // Which pairs the update was made on.
        let update = updates.iter().find(|update| update["step"] == row["step"]).unwrap().clone();
        row.insert("update".into(), update);
    }
    assert_eq!(updates.len(), updates.iter().map(|update| update["step"].as_u64()).collect::<BTreeSet<_>>().len());
    (read("pairs/pairs.jsonl"), read("adapter/adapter_model.safetensors"), metrics)
}
