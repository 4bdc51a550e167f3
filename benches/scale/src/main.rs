//! What a run costs at scale. Each part prints one JSON line; README.md says how it is measured.

mod bounded;
mod memory;
mod straggler;
mod sysbank;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// What a run costs at scale.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// A view a hundred times slower than its source: what is outstanding, the memory, the rate.
    Bounded(bounded::Arguments),
    /// One call in 4,096 takes 2 s: what it costs.
    Straggler(straggler::Arguments),
    /// Profiles, dialogues, responses and verdicts as many as SysBank has.
    Sysbank(sysbank::Arguments),
}

fn main() -> anyhow::Result<()> {
    let line = match Arguments::parse().part {
        Part::Bounded(arguments) => bounded::run(&arguments)?,
        Part::Straggler(arguments) => straggler::run(&arguments)?,
        Part::Sysbank(arguments) => sysbank::run(&arguments)?,
    };
    println!("{line}");
    Ok(())
}

/// Where cargo leaves a library of stages.
fn library(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("the program is in no folder")?;
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    Ok(folder.join("deps").join(format!("{prefix}obvert_{name}{suffix}")))
}
