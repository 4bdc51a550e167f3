//! What a pipeline may use: built-in stages, plugin libraries, model kinds.

mod entry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obvert_api::Manifest;
use obvert_api::erased::{Create, Kind};
use serde_json::Value;

use crate::Error;
use crate::model::{Model, Scripted};
use crate::pipeline::{Catalog, Document, Plan, Report, StageKind, StagePlan};
use crate::stage::{Library, ask, build, load, load_in_place};

pub use entry::{
    BadRow, Body, CheckModel, CheckStage, Entry, OpenModel, OpenSource, OpenView, Row, Rows, ShowRecord, Source,
};

/// All stage types and model kinds that the program knows.
#[derive(Clone, Default)]
pub struct Registry {
    stages: BTreeMap<String, Entry>,
    models: BTreeMap<String, ModelEntry>,
}

/// A model kind.
#[derive(Clone)]
struct ModelEntry {
    schema: Value,
    check: CheckModel,
    open: OpenModel,
}

impl Registry {
    /// A registry with the model kinds of the engine itself.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let schema = schemars::schema_for!(Scripted).to_value();
        let check = Arc::new(|settings: &Value| Scripted::open(settings).map(drop));
        registry.add_model("scripted", schema, check, Arc::new(|settings| Ok(Arc::new(Scripted::open(settings)?))));
        registry
    }

    /// Adds a stage type, in place of one of the same name.
    pub fn add(&mut self, name: &str, entry: Entry) {
        self.stages.insert(name.to_string(), entry);
    }

    /// Adds a stage that is linked into the program.
    pub fn add_linked(&mut self, (manifest, create): (Manifest, Create)) -> &mut Entry {
        let entry = Entry::of_stage(&manifest, Body::Linked(create, Box::new(manifest.clone())), "built in".into());
        self.stages.entry(manifest.name).insert_entry(entry).into_mut()
    }

    /// Adds a model kind.
    pub fn add_model(&mut self, kind: &str, schema: Value, check: CheckModel, open: OpenModel) {
        self.models.insert(kind.to_string(), ModelEntry { schema, check, open });
    }

    /// Adds the stages of a plugin: a library, the folder of a crate, which is built, or else a program that speaks for itself.
    ///
    /// # Errors
    /// It is no plugin; names the file.
    pub fn add_plugin(&mut self, path: &Path) -> Result<(), Error> {
        let bodies = bodies(path);
        self.add_bodies(path, bodies).map_err(|cause| Error::Plugin { path: path.to_path_buf(), cause })
    }

    /// Adds the stages of a plugin. None takes the place of another one's: what a pipeline means must not depend on their order.
    fn add_bodies(&mut self, path: &Path, bodies: Result<Vec<(Manifest, Body)>, String>) -> Result<(), String> {
        let origin = path.display().to_string();
        for (manifest, body) in bodies? {
            if let Some(known) = self.entry(&manifest.name).filter(|known| known.origin != origin) {
                return Err(format!("its stage type `{}` is there already ({})", manifest.name, known.origin));
            }
            self.add(&manifest.name, Entry::of_stage(&manifest, body, origin.clone()));
        }
        Ok(())
    }

    /// Loads a plugin of the program's own from the folders where a build or an installation puts it; whether it is there.
    ///
    /// # Errors
    /// It is there and cannot be loaded.
    pub fn add_own_library(&mut self, name: &str) -> Result<bool, Error> {
        let Some(path) = own_library(name) else { return Ok(false) };
        let bodies = load_in_place(&path).map(of_library);
        self.add_bodies(&path, bodies).map_err(|cause| Error::Plugin { path, cause }).map(|()| true)
    }

    /// The stage type of this name.
    pub fn entry(&self, kind: &str) -> Option<&Entry> {
        self.stages.get(kind)
    }

    /// All stage types, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.stages.iter()
    }

    /// Stages of plugins, each with the hash of what it is.
    pub fn builds(&self) -> Vec<(String, String)> {
        let build = |entry: &Entry| match &entry.body {
            Body::Library(library) => Some(library.build.clone()),
            Body::Program(program) => Some(program.build.clone()),
            _ => None,
        };
        self.stages.iter().filter_map(|(name, entry)| Some((name.clone(), build(entry)?))).collect()
    }

    /// What would keep the plan of `document` from starting: stages that refuse their settings, inputs and models that
    /// are not there.
    ///
    /// # Errors
    /// Everything found, each with its place.
    pub fn check(&self, document: &Document, plan: &Plan) -> Result<(), Report> {
        let mut found: Option<Report> = None;
        let mut add = |report: Report| match &mut found {
            Some(all) => all.append(report),
            none => *none = Some(report),
        };
        for model in &plan.models {
            if let Some(Err(cause)) = self.models.get(&model.kind).map(|entry| (entry.check)(&model.settings)) {
                add(Report::at_model(document, &model.name, Some("path"), format!("model `{}`: {cause}", model.name)));
            }
        }
        for stage in self.waiting_for_themselves(plan) {
            let cause =
                "a group in the turn loop has to be within a row: this one would wait for turns that wait for it";
            let message = format!("stage `{}` (`{}`): {cause}", stage.name, stage.kind);
            add(Report::at_stage(document, &stage.name, Some("type"), message));
        }
        for stage in &plan.stages {
            if let Some(Err((field, cause))) = self.entry(&stage.kind).map(|entry| entry.check(stage, plan)) {
                let message = format!("stage `{}` (`{}`): {cause}", stage.name, stage.kind);
                add(Report::at_stage(document, &stage.name, Some(&field), message));
            }
        }
        found.map_or(Ok(()), Err)
    }

    /// Groups that span rows, and stand upstream of themselves.
    fn waiting_for_themselves<'a>(&self, plan: &'a Plan) -> Vec<&'a StagePlan> {
        let spans = |stage: &&StagePlan| {
            let manifest = self.entry(&stage.kind).and_then(Entry::manifest);
            manifest.is_some_and(|manifest| manifest.kind == Kind::Group && !manifest.within_row)
        };
        plan.stages.iter().filter(spans).filter(|stage| plan.reaches(&stage.name, stage)).collect()
    }

    /// Opens a model of a kind, with its settings.
    ///
    /// # Errors
    /// It cannot be; names it.
    pub fn open_model(&self, name: &str, kind: &str, settings: &Value) -> Result<Arc<dyn Model>, Error> {
        let failed = |cause: String| Error::Model { name: name.to_string(), cause };
        let entry = self.models.get(kind).ok_or_else(|| failed(format!("unknown kind `{kind}`")))?;
        (entry.open)(settings).map_err(failed)
    }
}

/// The stages of a plugin.
fn bodies(path: &Path) -> Result<Vec<(Manifest, Body)>, String> {
    if path.is_dir() {
        return bodies(&build(path)?);
    }
    if is_library(path) {
        return load(path).map(of_library);
    }
    let stages = ask(path)?.into_iter();
    Ok(stages.map(|stage| (stage.manifest.clone(), Body::Program(Box::new(stage)))).collect())
}

/// By its name, which a version may follow.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(std::env::consts::DLL_SUFFIX) || name.contains(&format!("{}.", std::env::consts::DLL_SUFFIX))
}

fn of_library(stages: Vec<Library>) -> Vec<(Manifest, Body)> {
    stages.into_iter().map(|stage| (stage.manifest.clone(), Body::Library(Box::new(stage)))).collect()
}

/// A library of the program's own, by the name of its crate, where a build or an installation has put it.
pub fn own_library(name: &str) -> Option<PathBuf> {
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    own_folders().into_iter().map(|folder| folder.join(&file)).find(|path| path.is_file())
}

/// Where cargo leaves the libraries of a package's dependencies, beside the program, and where an installation has them. Those of
/// cargo come first: it renews the ones beside the program only where it was asked to build them.
fn own_folders() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_path_buf()));
    let of = |folder: PathBuf| [folder.join("deps"), folder.clone(), folder.join("../lib/obvert")];
    beside.into_iter().flat_map(of).collect()
}

impl Catalog for Registry {
    fn stage(&self, kind: &str) -> Option<StageKind<'_>> {
        self.stages.get(kind).map(|entry| StageKind {
            input: entry.input.as_deref(),
            with: entry.with.as_deref(),
            output: entry.output.as_deref(),
            closes_loop: entry.closes_loop,
            in_step: entry.lag.is_some(),
            schema: &entry.schema,
        })
    }

    fn stage_kinds(&self) -> Vec<String> {
        self.stages.keys().cloned().collect()
    }

    fn model(&self, kind: &str) -> Option<&Value> {
        self.models.get(kind).map(|entry| &entry.schema)
    }

    fn model_kinds(&self) -> Vec<String> {
        self.models.keys().cloned().collect()
    }
}
