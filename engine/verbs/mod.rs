//! One file per verb, and what several need.

pub mod about;
mod beside;
pub mod doctor;
pub mod eval;
pub mod explain;
pub mod export;
pub mod graph;
pub mod init;
pub mod logprobs;
pub mod memo;
pub mod memory;
pub mod merge;
mod model;
pub mod new;
mod pairs;
pub mod plugin;
pub mod preview;
pub mod run;
pub mod said;
pub mod shell;
mod tapped;
pub mod test;
pub mod top;
pub mod trace;
pub mod train;
mod train_observer;
#[cfg(feature = "ui")]
pub mod ui;

use std::path::Path;

use anyhow::Context;
use obvert_api::Manifest;
use obvert_api::erased::Create;
use obvert_engine::Registry;
use obvert_engine::pipeline::{Document, Plan, PluginEntry, Report, parse_with};
use obvert_engine::stage::fingerprint;
use obvert_stages::Findings;

/// A pipeline or an argument that is wrong: exit code 2.
#[derive(Debug)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for Refused {}

/// The stages of a plugin that is linked.
type Linked = fn() -> Vec<(Manifest, Create)>;

/// The program's own plugins, as their libraries are called. They are linked, too, for where the program is alone.
const OWN: [(&str, Linked); 5] = [
    ("obvert_profile", obvert_profile::stages),
    ("obvert_persona_play", obvert_persona_play::stages),
    ("obvert_judge", obvert_judge::stages),
    ("obvert_reverse", obvert_reverse::stages),
    ("obvert_pair", obvert_pair::stages),
];

/// Everything a pipeline may use without naming a library.
pub fn registry(findings: &Findings) -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, findings);
    #[cfg(feature = "openai")]
    obvert_openai::register(&mut registry);
    for (name, stages) in OWN {
        if !registry.add_own_library(name)? {
            for stage in stages() {
                registry.add_linked(stage);
            }
        }
    }
    Ok(registry)
}

/// The pipeline file where none is named: as `init` makes it.
pub const PIPELINE: &str = "pipeline.toml";

/// How a pipeline is read.
#[derive(clap::Args)]
pub struct Reading {
    /// Override a value: stage.key=value.
    #[arg(long)]
    set: Vec<String>,
    /// Load no plugin that is not pinned by its hash (see `obvert lock`).
    #[arg(long)]
    locked: bool,
}

impl Reading {
    /// The checked plan of a file, and the registry with the plugins that it names.
    pub fn plan(&self, pipeline: &Path) -> anyhow::Result<(Plan, Registry)> {
        let (_, plan, registry) = plan(pipeline, &self.set, &Findings::default(), Trust::of(self.locked))?;
        Ok((plan, registry))
    }
}

/// Which plugins may be loaded, of those that a pipeline names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All that are not others than they are pinned to.
    Named,
    /// Those that are pinned.
    Pinned,
}

impl Trust {
    /// As `--locked` says.
    pub fn of(locked: bool) -> Self {
        if locked { Trust::Pinned } else { Trust::Named }
    }
}

/// The text and the checked plan of a pipeline file that could start, and the registry with the plugins that it names.
pub fn plan(
    path: &Path,
    set: &[String],
    findings: &Findings,
    trust: Trust,
) -> anyhow::Result<(String, Plan, Registry)> {
    let (text, document, plan, registry) = resolve(path, set, findings, trust)?;
    registry.check(&document, &plan).map_err(|report| Refused(report.to_string()))?;
    Ok((text, plan, registry))
}

/// As [`plan`], whether or not its inputs and models are there.
pub fn resolve(
    path: &Path,
    set: &[String],
    findings: &Findings,
    trust: Trust,
) -> anyhow::Result<(String, Document, Plan, Registry)> {
    let document = read(path, set)?;
    let text = document.files().map(|(_, text)| text).collect::<Vec<_>>().join("\n");
    let mut registry = registry(findings).context("the program's own plugins")?;
    add_plugins(&mut registry, &document, trust)?;
    let plan = document.resolve(&registry).map_err(|report| Refused(report.to_string()))?;
    Ok((text, document, plan, registry))
}

/// A pipeline file with those that it includes.
fn read(path: &Path, set: &[String]) -> anyhow::Result<Document> {
    let refused = |error| Refused(format!("error: {}: {error}{}", path.display(), instead_of(path)));
    let text = std::fs::read_to_string(path).map_err(refused)?;
    let read = |path: &Path| std::fs::read_to_string(path);
    Ok(parse_with(path, &text, set, &read).map_err(|report| Refused(report.to_string()))?)
}

/// What a pipeline may use, or without one what any may; the rest of it need not be sound.
fn usable(path: Option<&Path>) -> anyhow::Result<Registry> {
    let mut registry = registry(&Findings::default())?;
    if let Some(path) = path {
        let document = read(path, &[])?;
        add_plugins(&mut registry, &document, Trust::Named)?;
    }
    Ok(registry)
}

/// Adds the plugins that a pipeline names, or says what is wrong with all of them that cannot be. None is loaded, or built, before it is
/// known to be what it is pinned to.
fn add_plugins(registry: &mut Registry, document: &Document, trust: Trust) -> anyhow::Result<()> {
    let mut refused: Vec<String> = Vec::new();
    for (index, plugin) in document.plugins().iter().enumerate() {
        let loaded = is_trusted(plugin, trust)
            .and_then(|()| registry.add_plugin(&plugin.path).map_err(|error| error.to_string()));
        if let Err(cause) = loaded {
            let cause = format!("{cause}{}", alike(&plugin.path));
            refused.push(Report::at_plugin(document, index, cause).to_string());
        }
    }
    anyhow::ensure!(refused.is_empty(), Refused(refused.join("\n\n")));
    Ok(())
}

/// What may have been meant by a pipeline file that cannot be read.
fn instead_of(path: &Path) -> String {
    let within = path.join(PIPELINE);
    match alike(path) {
        _ if within.exists() => format!("; did you mean `{}`?", within.display()),
        near if near.is_empty() && !path.exists() => "; `obvert init demo` makes a folder with a pipeline".into(),
        near => near,
    }
}

/// What there is in place of a file that is not there.
fn alike(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().filter(|_| !path.exists()).and_then(|folder| {
        // A name alone is one of this folder.
        let here = folder.as_os_str().is_empty();
        if here { Path::new(".") } else { folder }.read_dir().ok()
    });
    let names = folder.into_iter().flatten().flatten().map(|entry| name(&entry.path()));
    let near = names.map(|other| (strsim::normalized_damerau_levenshtein(&other, &name(path)), other));
    let best = near.filter(|(score, _)| *score >= 0.6).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, other)| format!("; did you mean `{}`?", path.with_file_name(other).display())).unwrap_or_default()
}

fn is_trusted(plugin: &PluginEntry, trust: Trust) -> Result<(), String> {
    let path = plugin.path.display();
    let Some(pinned) = &plugin.blake3 else {
        let unpinned = || Err(format!("plugin {path} is not pinned, and --locked refuses it; `obvert lock` pins it"));
        return if trust == Trust::Pinned { unpinned() } else { Ok(()) };
    };
    let found = fingerprint(&plugin.path).map_err(|error| format!("plugin {path}: {error}"))?;
    if found == *pinned {
        return Ok(());
    }
    let cause = "is not what it is pinned to";
    Err(format!(
        "plugin {path} {cause}: its hash is {found}; look at what has changed, then pin it anew with `obvert lock`"
    ))
}

/// Pins the plugins of a pipeline file to what they are now. They are loaded first: a crate's first build settles its `Cargo.lock`.
pub fn lock(path: &Path) -> anyhow::Result<()> {
    let document = read(path, &[])?;
    let plugins = document.plugins();
    let mut registry = Registry::new();
    plugins.iter().try_for_each(|plugin| registry.add_plugin(&plugin.path))?;
    let hash = |plugin: &PluginEntry| fingerprint(&plugin.path).with_context(|| plugin.path.display().to_string());
    let hashes = plugins.iter().map(hash).collect::<anyhow::Result<Vec<_>>>()?;
    let form = "write the plugins in this file, as a list: plugins = [\"first\", \"second\"]";
    let pinned = document.pinned(&hashes).ok_or_else(|| Refused(format!("error: {}: {form}", path.display())))?;
    replace(path, &pinned).with_context(|| path.display().to_string())?;
    plugins.iter().zip(&hashes).for_each(|(plugin, hash)| println!("{hash}  {}", plugin.path.display()));
    Ok(())
}

/// Replaces a file at once.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(part.path(), text)?;
    std::fs::set_permissions(part.path(), std::fs::metadata(path)?.permissions())?;
    part.persist(path).map(drop).map_err(|error| error.error)
}

/// Runs a stage of a library for the program that started this one.
pub fn stage_process(library: &Path) -> anyhow::Result<()> {
    // Ctrl-C is meant for that program, which ends this one.
    ctrlc::set_handler(|| ()).context("cannot watch for Ctrl-C")?;
    Ok(obvert_engine::stage::process::serve(library)?)
}
