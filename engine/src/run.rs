//! Runs a plan: opens models and memo, builds the dataflow on every worker, drives it until it is quiet.

mod budget;
mod drive;
mod explain;
mod follow;
mod intake;
mod prepare;
mod rejected;
mod shown;

use budget::Budget;
pub use explain::{Explained, explain};

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::dataflow::{Applied, Ending, Graph, Node, OnFailure, Operator, Settlement, Trace, View};
use crate::feed::Feed;
use crate::model::Usage;
use crate::pipeline::{Plan, StagePlan};
use crate::registry::Source;
use crate::{Counts, Error, Registry, StageCount};

/// How to run a plan.
#[derive(Clone)]
pub struct Options {
    /// Folder of the results; its `state/` holds what a later run continues from.
    pub out: PathBuf,
    /// Set from outside to stop the run; what was paid is kept.
    pub interrupt: Arc<AtomicBool>,
    /// Whether the run goes on when it is quiet, and follows its sources until it is interrupted.
    pub watch: bool,
    /// Looks at calls instead of making them; nothing is written then.
    pub(crate) trace: Option<Trace>,
}

impl Options {
    /// A run into a folder, to its end.
    pub fn new(out: PathBuf) -> Self {
        Options { out, interrupt: Arc::default(), watch: false, trace: None }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What each stage did, in the order of the file.
    pub stages: Vec<StageCount>,
    /// What each model was asked, by name.
    pub models: Vec<(String, Usage)>,
    /// Wall time.
    pub elapsed: Duration,
    /// Stopped from outside before it was quiet.
    pub interrupted: bool,
}

/// Live figures of a run, to be read from any thread.
#[derive(Clone, Debug)]
pub struct Progress(Vec<(String, String, Arc<Counts>)>);

impl Progress {
    /// What each stage has done so far.
    pub fn stages(&self) -> Vec<StageCount> {
        self.0.iter().map(|(name, kind, counts)| counts.read(name, kind)).collect()
    }
}

/// A stage that was created, before it is part of a dataflow.
struct Prepared {
    plan: StagePlan,
    counts: Arc<Counts>,
    applied: Option<Applied>,
    view: Mutex<Option<Box<dyn View>>>,
    source: Option<Arc<dyn Source>>,
    /// Its records are more than side records of others.
    primary: bool,
    closes_loop: bool,
    admits: bool,
}

/// What all workers of a run share.
struct Shared {
    stages: Vec<Prepared>,
    settlement: Arc<Settlement>,
    stop: Stop,
    interrupt: Arc<AtomicBool>,
    rejected: Mutex<Option<Box<dyn View>>>,
    budget: Budget,
    /// Where places of rows are kept.
    state: PathBuf,
    watch: bool,
}

/// How a run is stopped: by anybody, from any thread.
#[derive(Clone, Default)]
struct Stop {
    ending: Ending,
    /// The first thing that went wrong: the stage and the cause.
    failure: Arc<Mutex<Option<(String, String)>>>,
}

impl Stop {
    fn fail(&self, stage: &str, cause: String) {
        let first = (stage.to_string(), cause);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(first);
        self.ending.cut();
    }

    fn on_failure(&self) -> OnFailure {
        let stop = self.clone();
        Arc::new(move |stage, cause| stop.fail(stage, cause))
    }

    fn failure(&self) -> Option<(String, String)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs a plan to its end. `watch` is handed the live figures once all is set up.
pub fn run(plan: Plan, registry: &Registry, options: &Options, watch: impl FnOnce(Progress)) -> Result<Outcome, Error> {
    let begin = Instant::now();
    let plan = Arc::new(plan);
    let stop = Stop::default();
    let endpoints = Arc::new(prepare::open_endpoints(&plan, registry, &options.out, &stop)?);
    let shared = Arc::new(prepare::prepare(&plan, registry, options, &endpoints, stop)?);
    let named = |stage: &Prepared| (stage.plan.name.clone(), stage.plan.kind.clone(), Arc::clone(&stage.counts));
    let progress = Progress(shared.stages.iter().map(named).collect());
    watch(progress.clone());
    let driven = drive::drive(Arc::clone(&shared), plan.run.workers);
    endpoints.0.values().for_each(|endpoint| endpoint.close());
    // A stage that failed is the cause of whatever became of the workers.
    if let Some((stage, cause)) = shared.stop.failure() {
        return Err(Error::Stage { stage, cause });
    }
    driven?;
    let interrupted = !shared.stop.ending.is_quiet();
    let models = endpoints.0.iter().map(|(name, endpoint)| (name.clone(), endpoint.usage())).collect();
    Ok(Outcome { stages: progress.stages(), models, elapsed: begin.elapsed(), interrupted })
}

impl Shared {
    /// The graph as worker `index` builds it: views and rejections live on the first one.
    fn graph(&self, index: usize) -> Graph {
        let first = index == 0;
        let taken = |slot: &Mutex<Option<Box<dyn View>>>| {
            if first { slot.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None }
        };
        let node = |stage: &Prepared| Node {
            name: stage.plan.name.clone(),
            from: stage.plan.from.clone(),
            with: stage.plan.with.clone(),
            operator: match (&stage.applied, stage.plan.from.is_empty()) {
                (Some(applied), _) => Operator::Apply(applied.clone()),
                (None, true) => Operator::Source,
                (None, false) => Operator::Watch(taken(&stage.view)),
            },
            counts: Arc::clone(&stage.counts),
            closes_loop: stage.closes_loop,
            admits: stage.admits,
        };
        Graph {
            nodes: self.stages.iter().map(node).collect(),
            settlement: Arc::clone(&self.settlement),
            ending: self.stop.ending.clone(),
            spill: self.spill(),
            fail: self.stop.on_failure(),
            rejected: taken(&self.rejected),
        }
    }

    /// Stops the run if it failed too often or was interrupted.
    fn watch_over(&self) {
        let exceeded =
            self.budget.exceeded(self.stages.iter().map(|stage| (&*stage.plan.name, stage.counts.handled())));
        if let Some(cause) = exceeded {
            self.stop.fail("run", cause);
        }
        let interrupted = self.interrupt.load(Relaxed);
        // A run that follows its sources is over when it is told so; what it has made by then is whole.
        if self.settlement.is_quiet() && (interrupted || !self.watch) {
            self.stop.ending.quiet();
        } else if interrupted {
            self.stop.ending.cut();
        }
    }

    /// The rows of a source, none of which is in the dataflow yet.
    fn open_feed(&self, node: usize) -> std::io::Result<Feed> {
        let folder = self.state.join("rows");
        std::fs::create_dir_all(&folder)?;
        let spill = self.watch.then(|| self.spill());
        Feed::open(node, &folder.join(format!("{}.keys", self.stages[node].plan.name)), spill.as_deref())
    }

    /// Where what need not be in memory is put while the run lasts.
    fn spill(&self) -> PathBuf {
        self.state.join("spill")
    }
}
