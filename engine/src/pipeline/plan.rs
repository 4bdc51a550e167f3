//! The checked plan: what a pipeline file means.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::model::Limits;

/// A pipeline whose names are resolved and whose settings fit their schemas.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The pipeline's name: letters, digits, `-` and `_`.
    pub name: String,
    /// The `[run]` table.
    pub run: RunSettings,
    /// The models, in the order of the file.
    pub models: Vec<ModelPlan>,
    /// The stages, in the order of the file.
    pub stages: Vec<StagePlan>,
    /// The tests, in the order of the file.
    pub tests: Vec<TestPlan>,
}

impl Plan {
    /// The stages that a stage reads, directly or through others; itself too, if its records come back to it.
    pub fn upstream(&self, stage: &StagePlan) -> BTreeSet<usize> {
        let inputs = |stage: &StagePlan| stage.from.iter().chain(&stage.with).copied().collect::<Vec<_>>();
        let (mut open, mut found) = (inputs(stage), BTreeSet::new());
        while let Some(node) = open.pop() {
            if let (true, Some(stage)) = (found.insert(node), self.stages.get(node)) {
                open.extend(inputs(stage));
            }
        }
        found
    }

    /// Where a stage puts its files, in the run's folder: in that, or in one of its own where the plan has several of its type.
    pub fn folder(&self, name: &str) -> PathBuf {
        let kind = self.stages.iter().find(|stage| stage.name == name).map(|stage| &stage.kind);
        let alike = self.stages.iter().filter(|stage| Some(&stage.kind) == kind).count();
        if alike > 1 { PathBuf::from(name) } else { PathBuf::new() }
    }

    /// Whether what a stage makes reaches another one.
    pub fn reaches(&self, name: &str, of: &StagePlan) -> bool {
        self.upstream(of).into_iter().any(|node| self.stages.get(node).is_some_and(|stage| stage.name == name))
    }
}

/// The `[run]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSettings {
    /// Worker threads.
    pub workers: usize,
    /// Dialogues in play at once.
    pub dialogues: usize,
    /// Rows of each source that may be outstanding at once: let in, and not yet done with by all that depends on them.
    pub records: usize,
    /// Bytes of such rows; a larger one goes alone.
    pub bytes: u64,
    /// How many items may fail before the run stops.
    pub max_failures: u64,
    /// Which share of a stage's items may fail before the run stops, from the hundredth item on.
    pub max_failure_share: f64,
    /// Added to the seed of every draw: another number gives another run of the same pipeline.
    pub seed: u64,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            workers: 1,
            dialogues: 64,
            records: 4096,
            bytes: 64 << 20,
            max_failures: u64::MAX,
            max_failure_share: 1.0,
            seed: 0,
        }
    }
}

/// A `[model.NAME]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPlan {
    /// The name that settings refer to.
    pub name: String,
    /// The model kind.
    pub kind: String,
    /// How it may be used.
    pub limits: Limits,
    /// The settings of the kind: a JSON object, its paths absolute.
    pub settings: Value,
}

/// A `[stage.NAME]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct StagePlan {
    /// The stage's name.
    pub name: String,
    /// The stage type.
    pub kind: String,
    /// The stages it reads: indices into [`Plan::stages`].
    pub from: Vec<usize>,
    /// The stages of its side input: indices into [`Plan::stages`].
    pub with: Vec<usize>,
    /// The settings of the type: a JSON object, its paths absolute.
    pub settings: Value,
    /// Present where the stage's code runs in a process of its own.
    pub isolation: Option<Isolation>,
    /// Where the stage is defined.
    pub location: Location,
}

/// `isolation = "process"`: a crash or a hang of the stage's code costs one item, not the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Isolation {
    /// Seconds that the stage may be at an item; for ever by default.
    pub timeout_s: Option<f64>,
    /// MiB of memory that its process may have; all there is by default.
    pub memory_mb: Option<u64>,
}

/// A `[[test]]` table: what the pipeline's stages are to make of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct TestPlan {
    /// What it shows.
    pub name: String,
    /// Rows of sources, by the source's name.
    pub rows: Vec<(String, Vec<Value>)>,
    /// Settings of scripted models that stand in for the pipeline's, by name.
    pub models: Vec<(String, Value)>,
    /// Records that stages make, by name; only the fields that are given count.
    pub records: Vec<(String, Vec<Value>)>,
    /// Parts of the reasons for which stages set items aside, by name; of stages that are not named no item may be.
    pub rejected: Vec<(String, Vec<String>)>,
    /// Where it is defined.
    pub location: Location,
}

/// A position in a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}
