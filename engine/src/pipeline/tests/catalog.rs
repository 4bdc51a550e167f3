//! A small registry whose settings use what schemars emits.

use std::collections::BTreeMap;

use obvert_api::{ModelName, PathSetting, Secret};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use crate::pipeline::{Catalog, StageKind};

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Local {
    path: PathSetting,
    key: Option<Secret>,
}

/// Settings without any fields and without `deny_unknown_fields`.
#[derive(JsonSchema)]
struct Empty {}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct File {
    path: Option<PathSetting>,
    since: Option<String>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Session {
    #[schemars(range(min = 1, max = 20))]
    turns: u32,
    /// Left open on purpose: misspelt keys must be refused all the same.
    #[serde(default)]
    note: String,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Play {
    model: ModelName,
    #[schemars(length(min = 1))]
    opening: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Respond {
    policy: ModelName,
    strong: Option<ModelName>,
    sampling: Option<Sampling>,
    device: Option<Device>,
    loss: Option<Loss>,
    format: Option<Format>,
    schedule: Option<Schedule>,
    weights: Option<BTreeMap<String, f32>>,
    split: Option<(u8, f32)>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Sampling {
    #[schemars(range(min = 0.0))]
    temperature: f32,
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    top_p: Option<f32>,
    #[serde(default)]
    stop: Vec<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code)]
enum Device {
    /// The best there is.
    Auto,
    /// The reference.
    Cpu,
    Cuda,
}

#[derive(JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[allow(dead_code)]
enum Loss {
    Rpo { gamma: f64 },
    Dpo { beta: f64 },
    Sft,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code)]
enum Format {
    Jsonl,
    Parquet,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code)]
enum Schedule {
    Constant,
    Cosine { warmup: u32 },
    Steps(Vec<u32>),
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Sink {
    #[serde(default)]
    folders: Vec<PathSetting>,
}

struct Type {
    input: Option<&'static str>,
    with: Option<&'static str>,
    output: Option<&'static str>,
    closes_loop: bool,
    schema: Value,
}

/// The test's registry.
pub(super) struct TestCatalog {
    stages: BTreeMap<&'static str, Type>,
    models: BTreeMap<&'static str, Value>,
}

fn stage<S: JsonSchema>(input: Option<&'static str>, with: Option<&'static str>, output: Option<&'static str>) -> Type {
    Type { input, with, output, closes_loop: false, schema: schema_for!(S).to_value() }
}

impl Default for TestCatalog {
    fn default() -> Self {
        let mut stages = BTreeMap::from([
            ("profiles", stage::<File>(None, None, Some("Profile"))),
            ("personas", stage::<Empty>(None, None, Some("Persona"))),
            ("session", stage::<Session>(Some("Profile"), Some("Persona"), Some("Turn"))),
            ("play", stage::<Play>(Some("Turn"), None, Some("Turn"))),
            ("respond", stage::<Respond>(Some("Turn"), None, Some("Response"))),
            ("judge", stage::<Empty>(Some("Response"), None, Some("Verdict"))),
            ("next-turn", stage::<Empty>(Some("Verdict"), None, Some("Turn"))),
            ("sink", stage::<Sink>(Some("*"), None, None)),
        ]);
        if let Some(next) = stages.get_mut("next-turn") {
            next.closes_loop = true;
        }
        let models =
            BTreeMap::from([("local", schema_for!(Local).to_value()), ("scripted", schema_for!(Empty).to_value())]);
        Self { stages, models }
    }
}

impl Catalog for TestCatalog {
    fn stage(&self, kind: &str) -> Option<StageKind<'_>> {
        let Type { input, with, output, closes_loop, schema } = self.stages.get(kind)?;
        Some(StageKind {
            input: *input,
            with: *with,
            output: *output,
            closes_loop: *closes_loop,
            in_step: false,
            schema,
        })
    }

    fn stage_kinds(&self) -> Vec<String> {
        self.stages.keys().map(|kind| (*kind).to_owned()).collect()
    }

    fn model(&self, kind: &str) -> Option<&Value> {
        self.models.get(kind)
    }

    fn model_kinds(&self) -> Vec<String> {
        self.models.keys().map(|kind| (*kind).to_owned()).collect()
    }
}
