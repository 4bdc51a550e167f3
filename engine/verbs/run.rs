//! `run`: a pipeline from its inputs to its outputs, with progress on the way and an account at the end.

mod account;
mod pages;
mod progress;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use obvert_engine::{Beside, Options};
use obvert_stages::Findings;

use super::beside;

use pages::Pages;
use progress::Display;

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
    /// Go on when all is done: follow the inputs, and recompute what an edit changes, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Worker threads of the dataflow, in each process.
    #[arg(long)]
    workers: Option<usize>,
    #[command(flatten)]
    beside: beside::Arguments,
}

/// How long processes wait for each other: they load their models after they have met.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a pipeline.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let findings = Findings::default();
    let (text, mut plan, registry) = super::plan(&arguments.pipeline, &arguments.set, &findings)?;
    plan.run.workers = arguments.workers.unwrap_or(plan.run.workers).max(1);
    let name = plan.name.clone();
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(&name));
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let out = out.canonicalize()?;
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    // The first Ctrl-C ends the run in good order, the second one at once.
    let interrupted = move || {
        if flag.swap(true, Relaxed) {
            std::process::exit(130)
        }
    };
    ctrlc::set_handler(interrupted).context("cannot watch for Ctrl-C")?;
    let mut options = Options::new(out.clone());
    (options.interrupt, options.watch) = (interrupt, arguments.watch);
    let mut part = arguments.beside.start()?;
    let first = part.index == 0;
    let pipeline = serde_json::to_vec(&(&text, &arguments.set))?;
    let beside = part.seat().map(|seat| Beside { seat, pipeline, deadline: DEADLINE });
    let display = Display::default();
    let show = |progress| {
        if first {
            display.show(progress);
        }
    };
    let outcome = obvert_engine::run_beside(plan, &registry, &options, beside, show);
    display.end();
    let outcome = outcome?;
    part.end()?;
    // What a run leaves is the first process's.
    if !first {
        return Ok(());
    }
    let found = findings.lock();
    if outcome.interrupted {
        anyhow::bail!("interrupted; run the same command again to continue");
    }
    Pages { name: &name, pipeline: &arguments.pipeline, text: &text, out: &out, outcome: &outcome, found: &found }
        .write()?;
    account::print(&arguments.pipeline, &out, &outcome, &found);
    Ok(())
}
