//! `run`: a pipeline from its inputs to its outputs, with progress on the way and an account at the end.

mod account;
mod pages;
mod progress;
mod renewed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use obvert_engine::{Beside, Options, Outcome};

use super::{Trust, beside};

use pages::Pages;
use progress::Display;
use renewed::{Place, Read, Watcher};

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Folder of the results; `runs/NAME` by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Override a value: stage.key=value, run.workers=2, model.NAME.key=value.
    #[arg(long)]
    set: Vec<String>,
    /// Go on when all is done: follow inputs, pipeline and plugins, and recompute what an edit changes, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Worker threads of the dataflow, in each process.
    #[arg(long)]
    workers: Option<usize>,
    /// Refuse plugins that the pipeline does not pin to a hash.
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    beside: beside::Arguments,
}

/// How long processes wait for each other: they load their models after they have met.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a pipeline.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (path, set) = (arguments.pipeline.clone(), arguments.set.clone());
    let place = Place { path, set, trust: Trust::of(arguments.locked) };
    let read = Read::new(&place)?;
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(&read.plan.name));
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let out = out.canonicalize()?;
    let interrupt = interrupted()?;
    let mut part = arguments.beside.start()?;
    let first = part.index == 0;
    let (read, outcome) = match part.seat() {
        None if arguments.watch => followed(arguments, &place, read, &out, &interrupt)?,
        seat => {
            let pipeline = serde_json::to_vec(&(&read.text, &arguments.set))?;
            let beside = seat.map(|seat| Beside { seat, pipeline, deadline: DEADLINE });
            let mut options = Options::new(out.clone());
            (options.interrupt, options.watch) = (interrupt, arguments.watch);
            let outcome = run_once(arguments, &read, &options, beside, first)?;
            (read, outcome)
        }
    };
    part.end()?;
    // What a run leaves is the first process's.
    if !first {
        return Ok(());
    }
    if outcome.interrupted {
        anyhow::bail!("interrupted; run the same command again to continue");
    }
    let (name, text, found) = (&read.plan.name, &read.text, read.findings.lock());
    Pages { name, pipeline: &arguments.pipeline, text, out: &out, outcome: &outcome, found: &found }.write()?;
    account::print(&arguments.pipeline, &out, &outcome, &found);
    Ok(())
}

/// Runs what is at a place, and again whenever it has become another, until Ctrl-C; what ran last, and how it ended.
fn followed(
    arguments: &Arguments,
    place: &Place,
    mut read: Read,
    out: &Path,
    interrupt: &Arc<AtomicBool>,
) -> anyhow::Result<(Read, Outcome)> {
    let mut before: Option<Read> = None;
    loop {
        let mut options = Options::new(out.to_owned());
        (options.interrupt, options.watch) = (Arc::clone(interrupt), true);
        let watcher = Watcher::start(place, &read, Arc::clone(&options.renew));
        match (run_once(arguments, &read, &options, None, true), before.take()) {
            (Ok(outcome), _) if interrupt.load(Relaxed) => return Ok((read, outcome)),
            (Ok(_), _) => {
                if let Some(next) = watcher.next() {
                    before = Some(std::mem::replace(&mut read, next));
                }
            }
            (Err(error), Some(good)) => {
                eprintln!("error: {error:#}\n\nthe run goes on with what there was before");
                // What failed is not tried again before it has changed.
                read = Read { stamp: read.stamp, ..good };
            }
            (Err(error), None) => return Err(error),
        }
    }
}

/// A flag that Ctrl-C sets: the first one ends the run in good order, the second one at once.
fn interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    let set = move || {
        if flag.swap(true, Relaxed) {
            std::process::exit(130)
        }
    };
    ctrlc::set_handler(set).context("cannot watch for Ctrl-C")?;
    Ok(interrupt)
}

/// Runs what was read of the pipeline, to its end or until it is to be renewed.
fn run_once(
    arguments: &Arguments,
    read: &Read,
    options: &Options,
    beside: Option<Beside>,
    shown: bool,
) -> anyhow::Result<Outcome> {
    let mut plan = read.plan.clone();
    plan.run.workers = arguments.workers.unwrap_or(plan.run.workers).max(1);
    let display = Display::default();
    let show = |progress| {
        if shown {
            display.show(progress);
        }
    };
    let outcome = obvert_engine::run_beside(plan, &read.registry, options, beside, show);
    display.end();
    Ok(outcome?)
}
