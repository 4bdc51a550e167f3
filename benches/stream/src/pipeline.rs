//! The work as a pipeline of obvert.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use anyhow::Context;
use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_engine::pipeline::parse;
use obvert_engine::registry::{Entry, own_library};
use obvert_engine::{Change, Options, Registry, Settled, View};
use obvert_stages::Findings;
use obvert_stream_stages::{Dimension, Note, Tally, Weighed};
use serde_json::json;

use crate::input::{Held, read};
use crate::{Arguments, Done, Engine, Work};

const MAPS: &str = r#"
name = "stream"

[stage.notes]
type = "notes"
path = "INPUT"

[stage.lower]
type = "note-lower"
from = "notes"

[stage.count]
type = "note-count"
from = "lower"

[stage.mix]
type = "note-mix"
from = "count"

[stage.tag]
type = "note-tag"
from = "mix"
"#;

const REDUCE: &str = r#"
[stage.reduce]
type = "note-reduce"
from = "tag"

[stage.out]
type = "tallies"
from = "reduce"
"#;

const JOIN: &str = r#"
[stage.dimensions]
type = "dimensions"
path = "DIMS"

[stage.join]
type = "note-join"
from = "tag"
with = "dimensions"

[stage.out]
type = "sum"
from = "join"
"#;

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let sum = Arc::new(Sum::default());
    let mut registry = registry(arguments, &sum)?;
    if arguments.memory == 1 {
        let notes: Vec<Note> = read(&arguments.input)?.collect::<Result<_, _>>()?;
        registry.add("notes", Held::entry(Arc::new(notes)));
    }
    let work = if arguments.work == Work::Reduce { REDUCE } else { JOIN };
    let full = |path: &Path| anyhow::Ok(path.canonicalize()?.display().to_string());
    let text = format!("{MAPS}{work}").replace("INPUT", &full(&arguments.input)?);
    let text = text.replace("DIMS", &full(&arguments.dims)?);
    let document = parse(Path::new("stream.toml"), &text, &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut plan = document.resolve(&registry).map_err(|e| anyhow::anyhow!("{e}"))?;
    plan.run.workers = arguments.workers;
    plan.run.records = arguments.window.unwrap_or(plan.run.records);
    let folder = tempfile::tempdir()?;
    let begin = Instant::now();
    let outcome = obvert_engine::run(plan, &registry, &Options::new(folder.path().to_path_buf()), |_| ())?;
    let seconds = begin.elapsed().as_secs_f64();
    let records = outcome.stages.first().map_or(0, |stage| stage.inputs as u64);
    let result = format!("{} records {}", sum.records.load(Relaxed), sum.total.load(Relaxed));
    Ok(Done { records, seconds, result })
}

fn registry(arguments: &Arguments, sum: &Arc<Sum>) -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    obvert_stages::add_source::<Note>(&mut registry, "notes");
    obvert_stages::add_source::<Dimension>(&mut registry, "dimensions");
    match arguments.engine {
        Engine::Linked => {
            for stage in obvert_stream_stages::stages() {
                registry.add_linked(stage);
            }
        }
        _ => registry.add_plugin(&own_library("obvert_stream_stages").context("the stages' library is not built")?)?,
    }
    let any = json!({ "type": "object" });
    let sum = Arc::clone(sum);
    let open = Arc::new(move |_: &_, _: &_| Ok(Box::new(Summing(Arc::clone(&sum))) as Box<dyn View>));
    registry.add("sum", Entry::view(Weighed::NAME, any.clone(), open));
    let path = arguments.out.clone();
    let open =
        Arc::new(move |_: &_, _: &_| Ok(Box::new(Tallies { path: path.clone(), rows: Vec::new() }) as Box<dyn View>));
    registry.add("tallies", Entry::view(Tally::NAME, any, open));
    Ok(registry)
}

#[derive(Default)]
struct Sum {
    records: AtomicU64,
    total: AtomicU64,
}

/// Adds joined records up.
struct Summing(Arc<Sum>);

impl View for Summing {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            let weighed: Weighed = decode(&change.record).map_err(|error| error.0)?;
            self.0.records.fetch_add(change.diff as u64, Relaxed);
            self.0.total.fetch_add(weighed.number().wrapping_mul(change.diff as u64), Relaxed);
        }
        Ok(())
    }
}

/// Writes the rows of reduce.
struct Tallies {
    path: PathBuf,
    rows: Vec<Arc<[u8]>>,
}

impl View for Tallies {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        self.rows.extend(changes.into_iter().map(|change| change.record));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let mut text = Vec::new();
        for row in &self.rows {
            let tally: Tally = decode(row).map_err(|error| error.0)?;
            serde_json::to_writer(&mut text, &tally).map_err(|error| error.to_string())?;
            text.push(b'\n');
        }
        std::fs::write(&self.path, text).map_err(|error| error.to_string())
    }
}
