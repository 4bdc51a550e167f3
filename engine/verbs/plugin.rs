//! `plugin`: what plugins say of themselves, and whether it is true.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use obvert_api::Manifest;
use obvert_engine::Registry;
use obvert_engine::registry::Entry;

use super::Refused;

/// What to do.
#[derive(clap::Subcommand)]
pub enum What {
    /// Load a plugin, show its stages and run their examples.
    Check {
        /// A library, the folder of a crate, or a program.
        plugin: PathBuf,
    },
    /// List the stage types that a pipeline can use, and where each is from.
    List {
        /// The pipeline file; without one, what every pipeline can use.
        pipeline: Option<PathBuf>,
    },
}

/// Does it.
pub fn plugin(what: &What) -> anyhow::Result<()> {
    match what {
        What::Check { plugin } => check(plugin),
        What::List { pipeline } => list(pipeline.as_deref()),
    }
}

fn check(path: &Path) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let path = path.canonicalize().map_err(|error| Refused(format!("error: {}: {error}", path.display())))?;
    registry.add_plugin(&path).map_err(|error| Refused(format!("error: {error}")))?;
    let mut wrong = 0;
    for entry in registry.entries().map(|(_, entry)| entry) {
        let Some(manifest) = entry.manifest() else { continue };
        println!("{}", described(manifest, entry));
        for (index, outcome) in entry.examine().into_iter().enumerate() {
            match outcome {
                Ok(()) => println!("  example {}: holds", index + 1),
                Err(error) => {
                    wrong += 1;
                    println!("  example {}: {error}", index + 1);
                }
            }
        }
        println!();
    }
    ensure!(wrong == 0, "{wrong} of the plugin's examples do not hold");
    Ok(())
}

fn described(manifest: &Manifest, entry: &Entry) -> String {
    let with = manifest.with.as_ref().map(|with| format!(", with {with}")).unwrap_or_default();
    let kind = format!("{:?}", manifest.kind).to_lowercase();
    let mut text =
        format!("{} {} ({kind}): {}{with} to {}\n", manifest.name, manifest.version, manifest.input, manifest.output);
    text += &format!("  from {}\n", entry.origin);
    let required = entry.schema["required"].as_array().cloned().unwrap_or_default();
    for (name, setting) in entry.schema["properties"].as_object().into_iter().flatten() {
        let needed = if required.iter().any(|other| other == name) { "" } else { "optional; " };
        let says = setting["description"].as_str().unwrap_or_default();
        text += &format!("  {name}: {needed}{}\n", if says.is_empty() { setting.to_string() } else { says.to_owned() });
    }
    text.trim_end().to_owned()
}

fn list(path: Option<&Path>) -> anyhow::Result<()> {
    let registry = super::usable(path)?;
    let rows: Vec<[String; 4]> = registry.entries().map(|(name, entry)| row(name, entry)).collect();
    let widths: Vec<usize> =
        (0..3).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default()).collect();
    for [name, takes, makes, origin] in rows {
        println!("{name:0$}  {takes:1$}  {makes:2$}  {origin}", widths[0], widths[1], widths[2]);
    }
    Ok(())
}

fn row(name: &str, entry: &Entry) -> [String; 4] {
    let with = entry.with.as_ref().map(|with| format!(" + {with}")).unwrap_or_default();
    let takes = entry.input.as_ref().map_or_else(|| "(source)".to_owned(), |input| format!("{input}{with}"));
    let makes = entry.output.as_ref().map_or_else(|| "(sink)".to_owned(), |output| format!("-> {output}"));
    [name.to_owned(), takes, makes, entry.origin.clone()]
}
