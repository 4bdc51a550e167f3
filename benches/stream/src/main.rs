//! 200,000 records through four map stages and a keyed reduce or join: obvert with its stages behind the plugin border or linked
//! in, or bare timely with closures. Prints one JSON line, as the peers' scripts do (benches/peers).

mod bare;
mod input;
mod pipeline;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use serde_json::json;

/// The streaming benchmark.
#[derive(Parser)]
pub struct Arguments {
    /// What comes after the maps.
    work: Work,
    /// The records.
    input: PathBuf,
    /// The dimensions.
    dims: PathBuf,
    /// Worker threads.
    workers: usize,
    /// Where the rows of reduce go.
    out: PathBuf,
    /// 1: the records are in memory before the clock starts.
    #[arg(default_value_t = 0)]
    memory: u8,
    /// How the stages are run.
    #[arg(long, value_enum, default_value_t = Engine::Plugin)]
    engine: Engine,
    /// Rows that may be outstanding; the engine's own number by default.
    #[arg(long)]
    window: Option<usize>,
}

/// What comes after the maps.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Work {
    /// All records of a key become one.
    Reduce,
    /// Each record finds its dimension.
    Join,
}

/// How the stages are run.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Engine {
    /// Loaded from a library, across the plugin border.
    Plugin,
    /// Linked into this program.
    Linked,
    /// Closures in a dataflow of timely's own operators.
    Timely,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let begin = Instant::now();
    let done = match arguments.engine {
        Engine::Timely => bare::run(&arguments)?,
        _ => pipeline::run(&arguments)?,
    };
    let name = match arguments.engine {
        Engine::Plugin => "obvert",
        Engine::Linked => "obvert, linked",
        Engine::Timely => "timely",
    };
    let line = json!({
        "engine": name, "version": env!("CARGO_PKG_VERSION"), "workers": arguments.workers, "records": done.records,
        "seconds": done.seconds, "seconds_total": begin.elapsed().as_secs_f64(), "result": done.result,
    });
    println!("{line}");
    Ok(())
}

/// What a run came to.
pub struct Done {
    /// Records that went in.
    pub records: u64,
    /// From the first record read to the last result written.
    pub seconds: f64,
    /// For a join, how many there were and what they add up to.
    pub result: String,
}
