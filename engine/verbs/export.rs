//! `export`: pairs as another trainer reads them.

use std::path::PathBuf;

use anyhow::{Context, bail};
use obvert_stages::output::Error;
use obvert_stages::output::export::{self, TOOLS, Tool};

use super::{Refused, pairs};

/// Arguments of `export`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A run's folder, its folder `pairs`, or JSONL in TRL's preference format.
    pairs: PathBuf,
    /// The trainer: trl, llama-factory, axolotl or openrlhf.
    #[arg(long, value_parser = tool)]
    to: &'static Tool,
    /// The model to train, as the trainer is to find it: a name on the hub, or a folder.
    #[arg(long, default_value = "MODEL")]
    model: String,
    /// The folder to write: a new one, or one that holds an export to the same trainer.
    #[arg(long)]
    out: PathBuf,
}

fn tool(name: &str) -> Result<&'static Tool, String> {
    let names = TOOLS.map(|tool| tool.name);
    let tool = TOOLS.into_iter().find(|tool| tool.name == name);
    tool.ok_or_else(|| format!("it can be {}", names.join(", ")))
}

/// Writes the rows that the trainer takes, those that it does not, and what it needs beside them.
pub fn export(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { pairs, to, model, out } = arguments;
    let files = pairs::files(pairs).with_context(|| pairs.display().to_string())?;
    let counts = match export::export(to, &files, model, out) {
        Err(error @ Error::Refused { .. }) => bail!(Refused(format!("error: {error}"))),
        counts => counts?,
    };
    let (done, rejected) = (counts.exported, counts.rejected);
    println!("in {} = out {done} + rejected {rejected}", done + rejected);
    if rejected > 0 {
        println!("what was set aside is in {}, each row with the rule", out.join("rejected.jsonl").display());
    }
    if done == 0 {
        bail!("{}: no row can be exported to {}", pairs.display(), to.name);
    }
    if counts.without_margin > 0 {
        eprintln!("warning: {} of {done} rows have no `g` (or `margin_g`) other than 0", counts.without_margin);
    }
    println!("train with `{}` in {}", to.command, out.display());
    Ok(())
}
