//! `jsonl`: the sink that keeps a file of JSON lines equal to the current set of records, of whatever type.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use obvert_engine::pipeline::{Plan, StagePlan};
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Registry, RunContext, Settled, View};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::output;

/// Settings of `jsonl`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Name of the file in the folder of the results; that of the stage, with `.jsonl`, by default.
    file: Option<String>,
}

pub(crate) fn register(registry: &mut Registry) {
    let mut entry = Entry::view("*", schemars::schema_for!(Settings).to_value(), Arc::new(open));
    entry.check = Some(Arc::new(check));
    registry.add("jsonl", entry);
}

/// What a run itself keeps in the folder of its results, beside the folders of stages.
const OWN: [&str; 11] = [
    "state",
    "pairs",
    "adapter",
    "tensorboard",
    "rejected.jsonl",
    "metrics.jsonl",
    "report.html",
    "scores.json",
    "diversity.json",
    "multi-if.json",
    "sysbench.json",
];

/// A file is one sink's alone: what another has written would be lost.
fn check(stage: &StagePlan, plan: &Plan) -> Result<(), (String, String)> {
    let refused = |cause: String| Err(("file".into(), cause));
    let file = file_of(&stage.name, stage.settings["file"].as_str());
    if file.is_empty() || file.contains(['/', '\\']) || file.starts_with('.') {
        return refused(format!("`{file}` is not the name of a file"));
    }
    let folder = |other: &StagePlan| plan.folder(&other.name).as_os_str() == file.as_str();
    if OWN.contains(&file.as_str()) || plan.stages.iter().any(folder) {
        return refused(format!("`{file}` is what the run itself writes"));
    }
    let writes_it = |other: &&StagePlan| file_of(&other.name, other.settings["file"].as_str()) == file;
    let mut others = plan.stages.iter().filter(|other| other.kind == stage.kind && other.name != stage.name);
    match others.find(writes_it) {
        Some(other) => refused(format!("`{}` would write the same file, `{file}`", other.name)),
        None => Ok(()),
    }
}

/// Name of a stage's file.
fn file_of(stage: &str, set: Option<&str>) -> String {
    set.map_or_else(|| format!("{stage}.jsonl"), str::to_owned)
}

fn open(settings: &Value, context: &RunContext) -> Result<Box<dyn View>, String> {
    let settings = Settings::deserialize(settings).map_err(|e| e.to_string())?;
    let file = file_of(&context.stage, settings.file.as_deref());
    Ok(Box::new(Lines { path: context.out.join(file), context: context.clone(), current: BTreeMap::new() }))
}

struct Lines {
    path: PathBuf,
    context: RunContext,
    /// Copies of each record, in the order of the rows that they came from.
    current: BTreeMap<(u64, Arc<[u8]>), isize>,
}

impl View for Lines {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            let key = (change.root, change.record);
            let copies = self.current.entry(key.clone()).or_insert(0);
            *copies += change.diff;
            if *copies == 0 {
                self.current.remove(&key);
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let mut text = Vec::new();
        for ((_, record), copies) in &self.current {
            let mut line = (self.context.to_json)(record)?;
            line.push(b'\n');
            (0..*copies).for_each(|_| text.extend_from_slice(&line));
        }
        output::write_atomically(&self.path, &text).map_err(|e| e.to_string())
    }
}
