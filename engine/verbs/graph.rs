//! `check`, `graph` and `schema`.

use std::path::Path;

use obvert_engine::pipeline::graph as drawing;
use obvert_stages::Findings;

use super::Trust;

/// Languages of drawings.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// Graphviz.
    #[default]
    Dot,
    /// Mermaid.
    Mermaid,
    /// A picture.
    Svg,
}

/// Checks a pipeline.
pub fn check(path: &Path, set: &[String], trust: Trust) -> anyhow::Result<()> {
    let (_, plan, _) = super::plan(path, set, &Findings::default(), trust)?;
    println!("{}: {} stages, {} models, no errors", path.display(), plan.stages.len(), plan.models.len());
    Ok(())
}

/// Prints the JSON schema of pipelines that may use what this one can, or any can.
pub fn schema(path: Option<&Path>) -> anyhow::Result<()> {
    println!("{}", schema_of(path)?);
    Ok(())
}

/// The same as a text.
pub fn schema_of(path: Option<&Path>) -> anyhow::Result<String> {
    let registry = super::usable(path)?;
    Ok(serde_json::to_string_pretty(&obvert_engine::pipeline::schema(&registry))?)
}

/// Draws a pipeline.
pub fn graph(path: &Path, format: Format) -> anyhow::Result<()> {
    let (_, _, plan, registry) = super::resolve(path, &[], &Findings::default(), Trust::Named)?;
    let drawn = match format {
        Format::Dot => drawing::dot(&plan, &registry),
        Format::Mermaid => drawing::mermaid(&plan, &registry),
        Format::Svg => drawing::svg(&plan, &registry),
    };
    println!("{drawn}");
    Ok(())
}
