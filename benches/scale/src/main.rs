//! What a run costs at scale. Each part prints one JSON line; README.md says how it is measured.

mod asked;
mod border;
mod bounded;
mod client;
mod generated;
mod hops;
mod memory;
mod straggler;
mod sysbank;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use obvert_engine::registry::own_library;

/// What a run costs at scale.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Records across the plugin border and back, by one thread.
    Border(border::Arguments),
    /// A view a hundred times slower than its source: what is outstanding, the memory, the rate.
    Bounded(bounded::Arguments),
    /// Calls to a server: how many are under way, and what that costs.
    Client(client::Arguments),
    /// What it costs to go from one stage to the next.
    Hops(hops::Arguments),
    /// One call in 4,096 takes 2 s: what it costs.
    Straggler(straggler::Arguments),
    /// Profiles, dialogues, responses and verdicts as many as SysBank has.
    Sysbank(sysbank::Arguments),
}

fn main() -> anyhow::Result<()> {
    let line = match Arguments::parse().part {
        Part::Border(arguments) => border::run(&arguments)?,
        Part::Bounded(arguments) => bounded::run(&arguments)?,
        Part::Client(arguments) => client::run(&arguments)?,
        Part::Hops(arguments) => hops::run(&arguments)?,
        Part::Straggler(arguments) => straggler::run(&arguments)?,
        Part::Sysbank(arguments) => sysbank::run(&arguments)?,
    };
    println!("{line}");
    Ok(())
}

/// Where cargo leaves a library of stages.
fn library(name: &str) -> anyhow::Result<PathBuf> {
    own_library(&format!("obvert_{name}")).with_context(|| format!("the library of {name} is not built"))
}
