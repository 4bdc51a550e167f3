//! A stage type: how it comes into being, and what the check and the dataflow must know of it.

use std::sync::Arc;
use std::time::Duration;

use obvert_api::erased::Create;
use obvert_api::{Error as StageError, Example, Manifest, Record, example};
use serde_json::Value;

use crate::model::Model;
use crate::pipeline::{Isolation, Plan, StagePlan};
use crate::stage::{Builtin, Library, Limits, Program, Runner, Shown};
use crate::{RunContext, View};

/// A row that a source could not read: what it found, and why that will not do.
pub type BadRow = (String, String);
/// A row of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What tells it from other rows: an edited row has the same.
    pub key: Vec<u8>,
    /// Its encoded record.
    pub record: Result<Vec<u8>, BadRow>,
}

/// The rows of a source, in order.
pub type Rows = Box<dyn Iterator<Item = Row> + Send>;

/// Where rows come from.
pub trait Source: Send + Sync {
    /// The rows as they are now.
    ///
    /// # Errors
    /// Says what is not there.
    fn rows(&self) -> Result<Rows, String>;

    /// A number that is another one once the rows may be others.
    fn stamp(&self) -> u64;
}

/// Opens a source, for draws with the run's seed.
pub type OpenSource = Arc<dyn Fn(&Value, u64) -> Result<Arc<dyn Source>, String> + Send + Sync>;
/// Opens a view.
pub type OpenView = Arc<dyn Fn(&Value, &RunContext) -> Result<Box<dyn View>, String> + Send + Sync>;
/// Finds what is wrong with a stage in its plan that the schema of its settings cannot tell: the setting and the cause.
pub type CheckStage = Arc<dyn Fn(&StagePlan, &Plan) -> Result<(), (String, String)> + Send + Sync>;
/// Finds what is wrong with a model's settings without loading the model.
pub type CheckModel = Arc<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;
/// Opens a model.
pub type OpenModel = Arc<dyn Fn(&Value) -> Result<Arc<dyn Model>, String> + Send + Sync>;

/// Shows a record as JSON.
pub type ShowRecord = fn(&[u8]) -> Result<Vec<u8>, StageError>;

/// How a stage type comes into being.
#[derive(Clone)]
pub enum Body {
    /// Reads rows from outside.
    Source(OpenSource),
    /// A stage linked into the program.
    Linked(Create, Box<Manifest>),
    /// A stage of a plugin library.
    Library(Box<Library>),
    /// A stage of a program.
    Program(Box<Program>),
    /// A sink, or a stage that consumes a whole collection.
    View(OpenView),
}

/// A created stage with the identity of its code.
type Created = (Arc<dyn Runner>, String);

/// A stage type.
#[derive(Clone)]
pub struct Entry {
    /// How it comes into being.
    pub body: Body,
    /// Record type of the input; `None` for a source, `"*"` for any.
    pub input: Option<String>,
    /// Record type of the side input.
    pub with: Option<String>,
    /// Record type of the output; `None` for a sink.
    pub output: Option<String>,
    /// JSON schema of the settings.
    pub schema: Value,
    /// What else is checked before a run.
    pub check: Option<CheckStage>,
    /// Shows the records of a source as JSON.
    pub to_json: Option<ShowRecord>,
    /// Its records go around the turn loop.
    pub closes_loop: bool,
    /// Its records begin dialogues and wait to be let in.
    pub admits: bool,
    /// Its groups wait until nothing that makes side records is at work: else every one that comes would make it anew.
    pub sides_first: bool,
    /// Its side input is the view that stands downstream of it: each record waits for, and gets, the version that the view has made
    /// of rows at least so many before its own. How many, by its settings.
    pub lag: Option<fn(&Value) -> u64>,
    /// Where it is from, for listings.
    pub origin: String,
}

impl Entry {
    pub(super) fn of_stage(manifest: &Manifest, body: Body, origin: String) -> Self {
        Entry {
            input: Some(manifest.input.clone()),
            with: manifest.with.clone(),
            output: Some(manifest.output.clone()),
            origin,
            ..Entry::built_in(body, manifest.settings.0.clone())
        }
    }

    /// A built-in source of records of the type `R`.
    pub fn source<R: Record>(schema: Value, open: OpenSource) -> Self {
        let to_json = Some(obvert_api::erased::to_json::<R> as ShowRecord);
        Entry { output: Some(R::NAME.into()), to_json, ..Entry::built_in(Body::Source(open), schema) }
    }

    /// A built-in view of records of the type `input`.
    pub fn view(input: &str, schema: Value, open: OpenView) -> Self {
        Entry { input: Some(input.into()), ..Entry::built_in(Body::View(open), schema) }
    }

    fn built_in(body: Body, schema: Value) -> Self {
        Entry {
            body,
            input: None,
            with: None,
            output: None,
            schema,
            check: None,
            to_json: None,
            closes_loop: false,
            admits: false,
            sides_first: false,
            lag: None,
            origin: "built in".into(),
        }
    }

    pub(super) fn check(&self, stage: &StagePlan, plan: &Plan) -> Result<(), (String, String)> {
        let settings = &stage.settings;
        if let Some(check) = &self.check {
            check(stage, plan)?;
        }
        if stage.isolation.is_some() && !matches!(self.body, Body::Library(_) | Body::Program(_)) {
            let cause = "only stages of plugins can have a process of their own, and this one is part of the program";
            return Err(("isolation".into(), cause.into()));
        }
        let refused = match &self.body {
            Body::Source(open) => open(settings, 0).and_then(|source| source.rows()).err(),
            _ => self.runner(settings, stage.isolation).and_then(Result::err).map(|e| e.0),
        };
        refused.map_or(Ok(()), |cause| Err(("path".into(), cause)))
    }

    /// Runs the stage on its examples, each of which may hold or not.
    pub fn examine(&self) -> Vec<Result<(), StageError>> {
        let Some(manifest) = self.manifest() else { return Vec::new() };
        let check = |example: &Example| {
            let created = self.runner(&example.settings.0, None).unwrap_or_else(|| Err(StageError::new("no stage")));
            created.and_then(|(stage, _)| example::check(&Shown(manifest.kind, &*stage), example))
        };
        manifest.examples.iter().map(check).collect()
    }

    /// Creates the stage, if it is one, with the identity of its code.
    pub(crate) fn runner(&self, settings: &Value, isolation: Option<Isolation>) -> Option<Result<Created, StageError>> {
        match &self.body {
            Body::Linked(create, manifest) => Some(create(settings).map(|stage| {
                let build = format!("{} {}", manifest.name, manifest.version);
                (
                    Arc::new(Builtin { name: manifest.name.clone(), stage, kind: manifest.kind }) as Arc<dyn Runner>,
                    build,
                )
            })),
            Body::Library(library) => {
                let runner = isolation.map(limits);
                let runner =
                    runner.map_or_else(|| library.create(settings), |limits| library.isolate(settings, limits));
                Some(runner.map(|runner| (runner, library.build.clone())))
            }
            Body::Program(program) => {
                let runner = program.create(settings, isolation.map(limits).unwrap_or_default());
                Some(runner.map(|runner| (runner, program.build.clone())))
            }
            Body::Source(_) | Body::View(_) => None,
        }
    }

    /// What the stage says of itself; nothing for a source or a view.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.body {
            Body::Linked(_, manifest) => Some(manifest),
            Body::Library(library) => Some(&library.manifest),
            Body::Program(program) => Some(&program.manifest),
            Body::Source(_) | Body::View(_) => None,
        }
    }
}

fn limits(isolation: Isolation) -> Limits {
    let timeout = isolation.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Limits { timeout, memory: isolation.memory_mb.map(|megabytes| megabytes << 20) }
}
