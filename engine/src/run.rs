//! Runs a plan: opens models and memo, builds the dataflow on every worker, drives it until it is quiet.

mod budget;
mod company;
mod drive;
mod follow;
mod intake;
mod look;
mod observed;
mod post;
mod prepare;
mod rejected;
mod shown;
mod steering;

use budget::Budget;
use company::{Company, Reported};
pub use look::{Explained, Looked, Wanted, look, mentions};
pub(crate) use post::{Mail, Outbox};
pub use steering::Steering;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::cluster::Seat;
use crate::dataflow::{Applied, Ending, Graph, Node, OnFailure, Operator, Settlement, Trace, View};
use crate::feed::Feed;
use crate::model::{ByStage, Endpoints};
use crate::pipeline::{Plan, StagePlan};
use crate::registry::Source;
use crate::{Counts, Error, Observer, Observers, Registry, StageCount, Tracer};

/// How to run a plan.
#[derive(Clone)]
pub struct Options {
    /// Folder of the results; its `state/` holds what a later run continues from.
    pub out: PathBuf,
    /// Folder of the results in whose `state/` the memo of model calls is: `out`, but for a sample, which another run goes on from.
    pub memo: PathBuf,
    /// By which it is stopped, paused, drained.
    pub steering: Steering,
    /// Whether the run goes on when it is quiet, and follows its sources until it is interrupted.
    pub watch: bool,
    /// Is told once the folder is this run's, before anything is written there or any other process begins.
    pub held: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Who looks at the records of stages.
    pub observers: Option<Observers>,
    /// Who is told of items that waited for models, and of calls.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Looks at calls instead of making them; nothing is computed then.
    pub(crate) trace: Option<Trace>,
}

impl Options {
    /// A run into a folder, to its end.
    pub fn new(out: PathBuf) -> Self {
        Options {
            memo: out.clone(),
            out,
            steering: Steering::default(),
            watch: false,
            held: None,
            observers: None,
            tracer: None,
            trace: None,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What each stage did, in the order of the file.
    pub stages: Vec<StageCount>,
    /// What each model was asked, by its name and that of the stage.
    pub models: Vec<(String, ByStage)>,
    /// Wall time.
    pub elapsed: Duration,
    /// Stopped from outside before it was quiet.
    pub interrupted: bool,
    /// Told to drain: what was not let in is left to another run.
    pub drained: bool,
}

/// Live figures of a run, to be read from any thread.
#[derive(Clone)]
pub struct Progress {
    own: Vec<(String, String, Arc<Counts>)>,
    settlement: Arc<Settlement>,
    endpoints: Arc<Endpoints>,
    reported: Reported,
}

/// What a model has to do, and has done.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ModelCount {
    /// Name of the `[model.NAME]` table.
    pub name: String,
    /// Calls that wait for it in this process.
    pub queued: usize,
    /// Calls that are with it, from this process.
    pub in_flight: usize,
    /// What it was asked, by all processes.
    pub usage: ByStage,
}

impl Progress {
    /// What each stage has done so far, in all processes.
    pub fn stages(&self) -> Vec<StageCount> {
        let read = |(node, (name, kind, counts)): (usize, &(String, String, Arc<Counts>))| StageCount {
            outstanding: self.settlement.outstanding(node).0 as u64,
            ..counts.read(name, kind)
        };
        self.reported.stages(self.own.iter().enumerate().map(read).collect())
    }

    /// What each model has to do and has done.
    pub fn models(&self) -> Vec<ModelCount> {
        let count = |(name, usage): (String, ByStage)| {
            let (queued, in_flight) =
                self.endpoints.0.get(&name).map(|endpoint| endpoint.waiting()).unwrap_or_default();
            ModelCount { name, queued, in_flight, usage }
        };
        self.usage().into_iter().map(count).collect()
    }

    fn usage(&self) -> Vec<(String, ByStage)> {
        let own = self.endpoints.0.iter().map(|(name, endpoint)| (name.clone(), endpoint.usage()));
        self.reported.models(own.collect())
    }
}

/// This process as one of several that run a plan together.
pub struct Beside {
    /// Its place among them.
    pub seat: Seat,
    /// The pipeline, and all that was said of how to run it: those that run another one are refused.
    pub pipeline: Vec<u8>,
    /// How long to wait for the others.
    pub deadline: Duration,
}

/// A stage that was created, before it is part of a dataflow.
struct Prepared {
    plan: StagePlan,
    counts: Arc<Counts>,
    applied: Option<Applied>,
    view: Mutex<Option<Box<dyn View>>>,
    source: Option<Arc<dyn Source>>,
    /// Sees the rows of a source.
    observer: Option<Arc<dyn Observer>>,
    /// Its records are more than side records of others.
    primary: bool,
    closes_loop: bool,
    /// See [`crate::registry::Entry::sides_first`].
    sides_first: bool,
    /// See [`crate::registry::Entry::lag`].
    lag: Option<u64>,
    admits: bool,
}

/// What all workers of a run share.
struct Shared {
    stages: Vec<Prepared>,
    settlement: Arc<Settlement>,
    stop: Stop,
    endpoints: Arc<Endpoints>,
    steering: Steering,
    /// Whether it is paused, as far as it has been told.
    paused: AtomicBool,
    rejected: Mutex<Option<Box<dyn View>>>,
    /// Whether views are there, in this process or another.
    versions: bool,
    budget: Budget,
    /// Where places of rows are kept.
    state: PathBuf,
    watch: bool,
    /// Present where several processes work on it.
    company: Option<Company>,
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

    fn first_failure(&self) -> Option<(String, String)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs a plan to its end. `watch` is handed the live figures once all is set up.
///
/// # Errors
/// It cannot be set up, or a stage, a worker or another process is lost.
pub fn run(plan: Plan, registry: &Registry, options: &Options, watch: impl FnOnce(Progress)) -> Result<Outcome, Error> {
    run_beside(plan, registry, options, None, watch)
}

/// Runs a plan together with other processes, each of which does the same. The first one has the sources and the sinks.
///
/// # Errors
/// As for [`run`]; or the others do not come, or do other work.
pub fn run_beside(
    plan: Plan,
    registry: &Registry,
    options: &Options,
    beside: Option<Beside>,
    watch: impl FnOnce(Progress),
) -> Result<Outcome, Error> {
    let begin = Instant::now();
    let plan = Arc::new(plan);
    let (stop, outbox) = (Stop::default(), Outbox::default());
    let first = beside.as_ref().is_none_or(|beside| beside.seat.index() == 0);
    // The others open their memos when they have met this process.
    let processes = beside.as_ref().map_or(1, |beside| beside.seat.count());
    let _held = if first { Some(prepare::arrange(options, processes)?) } else { None };
    options.held.iter().filter(|_| first).for_each(|tell| tell());
    let met = beside.map(|beside| prepare::meet(beside, &plan, registry)).transpose()?;
    if let Some(tracer) = &options.tracer {
        tracer.begin(met.as_ref().map_or_else(SystemTime::now, |met| met.begun));
    }
    let owners = met.as_ref().map(|met| Company::owners(&met.others, &outbox));
    let endpoints = Arc::new(prepare::open_endpoints(&plan, registry, options, &stop, owners)?);
    let threads = plan.run.workers;
    let (streams, others) = met.map(|met| (met.streams, met.others)).unzip();
    let company = others.map(|others| Company::new(others, threads, outbox, Arc::clone(&endpoints)));
    let shared = Arc::new(prepare::prepare(&plan, registry, options, &endpoints, stop, company)?);
    let named = |stage: &Prepared| (stage.plan.name.clone(), stage.plan.kind.clone(), Arc::clone(&stage.counts));
    let reported = shared.company.as_ref().map(|company| company.reported.clone()).unwrap_or_default();
    let progress = Progress {
        own: shared.stages.iter().map(named).collect(),
        settlement: Arc::clone(&shared.settlement),
        endpoints: Arc::clone(&endpoints),
        reported,
    };
    watch(progress.clone());
    let broken = |error: std::io::Error| Error::Dataflow(error.to_string());
    let builders = streams.map(|streams| streams.timely(threads)).transpose().map_err(broken)?;
    let driven = drive::drive(Arc::clone(&shared), threads, builders);
    endpoints.0.values().for_each(|endpoint| endpoint.close());
    // A process that is lost, or a stage that failed, is the cause of whatever became of the workers.
    if let Some(lost) = shared.company.as_ref().and_then(|company| company.others.lost()) {
        return Err(Error::Cluster(lost));
    }
    if let Some((stage, cause)) = shared.stop.first_failure() {
        return Err(Error::Stage { stage, cause });
    }
    driven?;
    let (interrupted, drained) = (!shared.stop.ending.is_quiet(), shared.stop.ending.is_draining());
    let (stages, models) = (progress.stages(), progress.usage());
    Ok(Outcome { stages, models, elapsed: begin.elapsed(), interrupted, drained })
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
            before: Vec::new(),
            operator: match (&stage.applied, stage.plan.from.is_empty()) {
                (Some(applied), _) => Operator::Apply(applied.clone()),
                (None, true) => Operator::Source,
                (None, false) => Operator::Watch(taken(&stage.view)),
            },
            counts: Arc::clone(&stage.counts),
            closes_loop: stage.closes_loop,
            admits: stage.admits,
            sides_first: stage.sides_first,
            lag: stage.lag,
        };
        Graph {
            nodes: self.stages.iter().map(node).collect(),
            settlement: Arc::clone(&self.settlement),
            ending: self.stop.ending.clone(),
            spill: self.spill(),
            fail: self.stop.on_failure(),
            rejected: taken(&self.rejected),
            versions: self.versions,
        }
    }

    /// Stops the run if it failed too often or was interrupted.
    fn watch_over(&self) {
        let elsewhere = self.company.as_ref().map(|company| company.reported.handled()).unwrap_or_default();
        let handled = self.stages.iter().enumerate().map(|(index, stage)| {
            let ((all, rejected), more) = (stage.counts.handled(), elsewhere.get(index).copied().unwrap_or_default());
            (&*stage.plan.name, (all + more.0, rejected + more.1))
        });
        if let Some(cause) = self.budget.exceeded(handled) {
            self.stop.fail("run", cause);
        }
        self.steer();
        let Steering { interrupt, renew, .. } = &self.steering;
        let interrupted = interrupt.load(Relaxed);
        // A run that follows its sources is over when it is told so; what it has made by then is whole.
        let ends = interrupted || !self.watch || renew.load(Relaxed) || self.stop.ending.is_draining();
        if ends && self.settlement.is_quiet() {
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
