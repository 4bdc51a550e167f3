//! `export`: pairs as another trainer reads them, or an adapter as a server loads it.

mod replay;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use obvert_stages::output::Error;
use obvert_stages::output::export::{self, TOOLS, Tool};
use obvert_stages::output::serve::{self, Given, SERVERS, Server};
use obvert_trainer::peft;

use super::{Refused, pairs};

/// Arguments of `export`.
#[derive(clap::Args)]
pub struct Arguments {
    /// For a trainer pairs: a run's folder, its folder `pairs`, or JSONL in TRL's preference format. For a server an adapter: a run's
    /// folder, or a PEFT folder.
    what: PathBuf,
    /// A trainer: trl, llama-factory, axolotl, openrlhf; or a server: vllm, llama.cpp, ollama.
    #[arg(long, value_parser = target)]
    to: Target,
    /// For a trainer the model to train, as the trainer is to find it: a name on the hub, or a folder. For a server the model that
    /// the adapter belongs to: a Hugging Face folder or a GGUF file.
    #[arg(long)]
    model: Option<String>,
    /// That model as the server is to find it, such as its name on the hub; by default as in --model.
    #[arg(long)]
    base: Option<String>,
    /// What the adapter is called at the server; by default as the folder --out.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    replay: replay::Arguments,
    /// The folder to write: a new one, or one that holds an export to the same tool.
    #[arg(long)]
    out: PathBuf,
}

/// What is exported to.
#[derive(Clone, Copy, Debug)]
enum Target {
    Trainer(&'static Tool),
    Server(&'static Server),
}

fn target(name: &str) -> Result<Target, String> {
    let trainer = TOOLS.into_iter().find(|tool| tool.name == name).map(Target::Trainer);
    let target = trainer.or_else(|| SERVERS.into_iter().find(|server| server.name == name).map(Target::Server));
    let names = || TOOLS.map(|tool| tool.name).into_iter().chain(SERVERS.map(|server| server.name)).collect::<Vec<_>>();
    target.ok_or_else(|| format!("it can be {}", names().join(", ")))
}

/// Writes what the tool takes, and what it needs beside it.
pub fn export(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.to {
        Target::Trainer(tool) => export_pairs(arguments, tool),
        Target::Server(server) => export_adapter(arguments, server),
    }
}

/// Writes the rows that the trainer takes, those that it does not, and what it needs beside them.
fn export_pairs(arguments: &Arguments, to: &Tool) -> anyhow::Result<()> {
    let Arguments { what, model, out, .. } = arguments;
    if arguments.replay.is_asked() || arguments.base.is_some() || arguments.name.is_some() {
        bail!(Refused(format!(
            "error: --base, --name and --replay are of an adapter for a server; {} takes pairs",
            to.name
        )));
    }
    let files = pairs::files(what).with_context(|| what.display().to_string())?;
    let counts = refused(export::export(to, &files, model.as_deref().unwrap_or("MODEL"), out))?;
    let (done, rejected) = (counts.exported, counts.rejected);
    println!("in {} = out {done} + rejected {rejected}", done + rejected);
    if rejected > 0 {
        println!("what was set aside is in {}, each row with the rule", out.join("rejected.jsonl").display());
    }
    if done == 0 {
        bail!("{}: no row can be exported to {}", what.display(), to.name);
    }
    if counts.without_margin > 0 {
        eprintln!("warning: {} of {done} rows have no `g` (or `margin_g`) other than 0", counts.without_margin);
    }
    println!("train with `{}` in {}", to.command, out.display());
    Ok(())
}

/// Writes the adapter as the server loads it; asks the server, where one is named.
fn export_adapter(arguments: &Arguments, to: &Server) -> anyhow::Result<()> {
    let Arguments { what, out, replay, .. } = arguments;
    let needed = || Refused(format!("error: {} needs --model, the model that the adapter belongs to", to.name));
    let model = arguments.model.as_deref().ok_or_else(needed)?;
    let adapter = adapter_in(what)?;
    let name = arguments.name.clone().or_else(|| Some(out.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| "adapter".into());
    let replayed = replay.prepared(what)?;
    let given = Given { model: Path::new(model), adapter: &adapter, base: arguments.base.as_deref(), name: &name };
    let exported = refused(serve::export(to, &given, out))?;
    exported.left_out.iter().for_each(|cause| eprintln!("warning: left out {cause}"));
    println!("serve with `{}` in {}", exported.command, out.display());
    replayed.map_or(Ok(()), |(url, prompts)| replay.replay(url, &prompts, &given))
}

fn refused<T>(result: Result<T, Error>) -> anyhow::Result<T> {
    match result {
        Err(error @ Error::Refused { .. }) => bail!(Refused(format!("error: {error}"))),
        result => Ok(result?),
    }
}

/// The adapter of a folder, or of the one stage of a run that trained one.
fn adapter_in(folder: &Path) -> anyhow::Result<PathBuf> {
    let is_one = |folder: &PathBuf| folder.join(peft::CONFIG).is_file();
    let near = [folder.to_owned(), folder.join("adapter")];
    if let Some(adapter) = near.into_iter().find(is_one) {
        return Ok(adapter);
    }
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    let of_stages = entries.flatten().map(|entry| entry.path().join("adapter"));
    let mut found: Vec<PathBuf> = of_stages.filter(is_one).collect();
    found.sort();
    let names: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
    match found.pop() {
        Some(adapter) if found.is_empty() => Ok(adapter),
        Some(_) => bail!(Refused(format!("error: several stages trained an adapter; name one: {}", names.join(", ")))),
        None => bail!(Refused(format!(
            "error: {}: no adapter_config.json in it, nor an adapter of a run",
            folder.display()
        ))),
    }
}
