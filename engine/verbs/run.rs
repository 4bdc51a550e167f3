//! `run`: a pipeline from its inputs to its outputs, with progress on the way and an account at the end.

mod account;
mod expected;
mod pages;
mod plan;
mod progress;
mod renewed;
mod seeds;
mod spans;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use obvert_engine::pipeline::Plan;
use obvert_engine::{Beside, Options, Outcome, Progress, Steering};
use obvert_eval::table::Table;
use obvert_live::{Reporter, Run, Watch};

use super::said::Said;
use super::{Trust, beside};

use pages::Pages;
use progress::Display;
use renewed::{Place, Read, Watcher};
use spans::Spans;

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file.
    #[arg(default_value = super::PIPELINE)]
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
    /// Run it so many times, with run.seed = 1, 2, …, each in a folder of its own, and put their scores side by side: means with
    /// standard errors, in table.md and report.html.
    #[arg(long, value_name = "N", conflicts_with_all = ["watch", "processes", "hosts"])]
    seeds: Option<u64>,
    /// Try a few rows of each source, say what the whole run is to make, to ask of models and to cost, and stop there. At the end of
    /// the run what it did is held against that.
    #[arg(long, conflicts_with_all = ["watch", "seeds", "processes", "hosts"])]
    plan: bool,
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
pub fn run(arguments: &Arguments, said: Said) -> anyhow::Result<()> {
    let asked = Asked { arguments, said, steering: Steering::default() };
    end_on_ctrl_c(&asked.steering)?;
    let place = arguments.place();
    let read = Read::new(&place)?;
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(&read.plan.name));
    match arguments.seeds {
        _ if arguments.plan => plan::run(&read, &place, &out),
        Some(seeds) => seeds::run(&asked, seeds, &read.plan, &out),
        None => once(&asked, &place, read, &out).map(drop),
    }
}

impl Arguments {
    fn place(&self) -> Place {
        Place { path: self.pipeline.clone(), set: self.set.clone(), trust: Trust::of(self.locked) }
    }
}

/// What was asked for, and by what it is steered.
struct Asked<'a> {
    arguments: &'a Arguments,
    said: Said,
    steering: Steering,
}

/// What was run, and how it ended.
struct Ended {
    read: Read,
    outcome: Outcome,
}

/// Runs what was read, into a folder, with its pages and the account; nothing comes of a process that helps another.
fn once(asked: &Asked<'_>, place: &Place, read: Read, out: &Path) -> anyhow::Result<Option<Ended>> {
    let arguments = asked.arguments;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let out = out.canonicalize()?;
    let mut part = arguments.beside.start()?;
    let first = part.index == 0;
    let (read, outcome) = match part.seat() {
        None if arguments.watch => followed(asked, place, read, &out)?,
        seat => {
            let pipeline = serde_json::to_vec(&(&read.text, &place.set))?;
            let beside = seat.map(|seat| Beside { seat, pipeline, deadline: DEADLINE });
            let mut options = Options::new(out.clone());
            (options.steering, options.watch) = (asked.steering.clone(), arguments.watch);
            let outcome = run_once(asked, &read, &options, beside, part.index)?;
            (read, outcome)
        }
    };
    part.end()?;
    // What a run leaves is the first process's.
    if !first {
        return Ok(None);
    }
    if outcome.interrupted {
        anyhow::bail!("interrupted; run the same command again to continue");
    }
    let ended = Ended { read, outcome };
    let partial = "This run was drained: rows and dialogues that had not been let in are not part of it. The same command goes on with them.";
    let note = ended.outcome.drained.then(|| partial.to_owned());
    ended.pages(place, &out, BTreeMap::new(), note).write()?;
    if asked.said != Said::Quiet {
        account::print(&arguments.pipeline, &out, &ended.outcome, &ended.read.findings.lock());
        plan::compare(&out, &ended.read, place, &ended.outcome);
    }
    Ok(Some(ended))
}

impl Ended {
    /// The pages of the run, with tables and a note where it is one of several.
    fn pages<'a>(
        &'a self,
        place: &'a Place,
        out: &'a Path,
        tables: BTreeMap<String, Table>,
        note: Option<String>,
    ) -> Pages<'a> {
        let Read { plan, text, findings, .. } = &self.read;
        Pages { plan, place, text, out, outcome: &self.outcome, findings, tables, note }
    }
}

/// Runs what is at a place, and again whenever it has become another, until Ctrl-C; what ran last, and how it ended.
fn followed(asked: &Asked<'_>, place: &Place, mut read: Read, out: &Path) -> anyhow::Result<(Read, Outcome)> {
    let mut before: Option<Read> = None;
    loop {
        let mut options = Options::new(out.to_owned());
        let steering = Steering { renew: Arc::default(), ..asked.steering.clone() };
        (options.steering, options.watch) = (steering.clone(), true);
        let watcher = Watcher::start(place, &read, Arc::clone(&steering.renew), asked.said);
        match (run_once(asked, &read, &options, None, 0), before.take()) {
            (Ok(outcome), _) if outcome.drained || steering.interrupt.load(Relaxed) => return Ok((read, outcome)),
            (Ok(_), _) => {
                if let Some(next) = watcher.next() {
                    before = Some(std::mem::replace(&mut read, next));
                }
            }
            (Err(error), Some(good)) => {
                asked.said.tell(&format!("error: {error:#}\n\nthe run goes on with what there was before"));
                // What failed is not tried again before it has changed.
                read = Read { stamp: read.stamp, ..good };
            }
            (Err(error), None) => return Err(error),
        }
    }
}

/// The first Ctrl-C ends the run in good order, the second one at once.
fn end_on_ctrl_c(steering: &Steering) -> anyhow::Result<()> {
    let interrupt = Arc::clone(&steering.interrupt);
    let end = move || {
        if interrupt.swap(true, Relaxed) {
            std::process::exit(130)
        }
    };
    ctrlc::set_handler(end).context("cannot watch for Ctrl-C")
}

/// Runs what was read of the pipeline, to its end or until it is to be renewed.
fn run_once(
    Asked { arguments, said, .. }: &Asked<'_>,
    read: &Read,
    options: &Options,
    beside: Option<Beside>,
    process: usize,
) -> anyhow::Result<Outcome> {
    let mut plan = read.plan.clone();
    plan.run.workers = arguments.workers.unwrap_or(plan.run.workers).max(1);
    let processes = beside.as_ref().map_or(1, |beside| beside.seat.count());
    let (display, watch) = (Display::default(), Watch::start(&options.out, process));
    let mut reporter = (process == 0).then(|| Reporter::of(told(&plan, read, options, processes)));
    let spans = Spans::begin(&plan.name)?;
    let mut options = options.clone();
    (options.held, options.observers, options.tracer) = (Some(watch.clears()), Some(watch.observers()), spans.tracer());
    let show = |progress: Progress| {
        if let Some(reporter) = &mut reporter {
            display.show(progress.clone(), *said);
            reporter.start(progress);
        }
    };
    let outcome = obvert_engine::run_beside(plan, &read.registry, &options, beside, show);
    display.end();
    spans.end();
    // Whoever looks has all that this process has made before they are told that it is over.
    drop(watch);
    let whole = outcome.as_ref().is_ok_and(|outcome| !outcome.interrupted);
    let progress = reporter.and_then(|reporter| reporter.end(&outcome));
    if let Some(progress) = progress.filter(|_| *said == Said::Text && !whole) {
        account::asked(progress.models().into_iter().map(|model| (model.name, model.usage)));
    }
    Ok(outcome?)
}

/// A run, as those who report of it need it.
fn told(plan: &Plan, read: &Read, options: &Options, processes: usize) -> Run {
    Run {
        plan: plan.clone(),
        out: options.out.clone(),
        findings: read.findings.clone(),
        steering: options.steering.clone(),
        processes,
    }
}
