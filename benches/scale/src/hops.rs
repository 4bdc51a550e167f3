//! What it costs to go from one stage to the next, by chains of stages that pass records on as they are.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use obvert_api::Record;
use obvert_engine::pipeline::parse;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Options, Registry, Settled, View};
use obvert_stream_stages::Note;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::generated::Generated;
use crate::library;

/// Arguments of `hops`.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Bytes of a record's text.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// Stages of a chain.
const CHAINS: [usize; 3] = [1, 4, 16];
/// Runs, of which the fastest counts.
const RUNS: usize = 3;

/// How stages that follow each other lie.
#[derive(Clone, Copy)]
enum Lie {
    /// In one library: as one operator.
    Together,
    /// By turns in two libraries: each hop crosses the border, and the engine.
    Apart,
}

/// The chains, and what a stage more costs.
pub fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    Ok(json!({
        "part": "hops", "rows": arguments.rows, "bytes": arguments.bytes, "workers": arguments.workers,
        "together": chains(arguments, Lie::Together)?, "apart": chains(arguments, Lie::Apart)?,
    }))
}

fn chains(arguments: &Arguments, lie: Lie) -> anyhow::Result<Vec<Value>> {
    let (mut chains, mut before) = (Vec::new(), None);
    for stages in CHAINS {
        let times = (0..RUNS).map(|_| seconds(arguments, lie, stages)).collect::<anyhow::Result<Vec<_>>>()?;
        let seconds = times.into_iter().fold(f64::INFINITY, f64::min);
        let hop = before.map(|(fewer, shorter): (usize, f64)| {
            (seconds - shorter) / (stages - fewer) as f64 / arguments.rows as f64 * 1e9
        });
        chains.push(json!({ "stages": stages, "processor_seconds": seconds, "hop_ns": hop.map(f64::round) }));
        before = Some((stages, seconds));
    }
    Ok(chains)
}

fn seconds(arguments: &Arguments, lie: Lie, stages: usize) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let registry = registry(arguments, folder.path())?;
    let mut text = "name = \"hops\"\n[stage.stage-0]\ntype = \"notes\"\n".to_string();
    for stage in 1..=stages {
        let kind = if matches!(lie, Lie::Apart) && stage % 2 == 0 { "note-pass-other" } else { "note-pass" };
        text += &format!("[stage.stage-{stage}]\ntype = \"{kind}\"\nfrom = \"stage-{}\"\n", stage - 1);
    }
    text += &format!("[stage.end]\ntype = \"end\"\nfrom = \"stage-{stages}\"\n");
    let document = parse(Path::new("hops.toml"), &text, &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut plan = document.resolve(&registry).map_err(|e| anyhow::anyhow!("{e}"))?;
    plan.run.workers = arguments.workers;
    let begin = at_work();
    obvert_engine::run(plan, &registry, &Options::new(folder.path().join("out")), |_| ())?;
    Ok(at_work() - begin)
}

/// Seconds that the processors have worked for this program: what else they do does not count.
fn at_work() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The stages, and one once more from a copy of their library.
fn registry(arguments: &Arguments, folder: &Path) -> anyhow::Result<Registry> {
    let (mut registry, copy) = (Registry::new(), folder.join("copy").with_extension(std::env::consts::DLL_EXTENSION));
    std::fs::copy(library("stream_stages")?, &copy)?;
    registry.add_plugin(&copy)?;
    let other = registry.entry("note-pass").context("no stage `note-pass`")?.clone();
    registry.add_plugin(&library("stream_stages")?)?;
    registry.add("note-pass-other", other);
    registry.add("notes", Generated { rows: arguments.rows, bytes: arguments.bytes }.entry());
    let end = Arc::new(|_: &_, _: &_| Ok(Box::new(End) as Box<dyn View>));
    registry.add("end", Entry::view(Note::NAME, json!({ "type": "object" }), end));
    Ok(registry)
}

/// Looks at nothing.
struct End;

impl View for End {
    fn update(&mut self, _: Vec<Change>, _: Settled) -> Result<(), String> {
        Ok(())
    }
}
