//! Runs a plan: opens models and memo, builds the dataflow on every worker, drives it until it is quiet.

mod drive;
mod follow;
mod intake;
mod rejected;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use obvert_api::erased::Kind;

use crate::dataflow::{Applied, Ending, Graph, Limit, Node, Operator, Settlement, View, Within};
use crate::feed::Feed;
use crate::memo::Memo;
use crate::model::{Endpoint, Endpoints, Usage};
use crate::pipeline::{Plan, StagePlan};
use crate::registry::{Body, Source};
use crate::{Counts, Error, Registry, RunContext, StageCount};

/// How to run a plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the results; its `state/` holds what a later run continues from.
    pub out: PathBuf,
    /// Set from outside to stop the run; what was paid is kept.
    pub interrupt: Arc<AtomicBool>,
    /// Whether the run goes on when it is quiet, and follows its sources until it is interrupted.
    pub watch: bool,
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
    ending: Ending,
    interrupt: Arc<AtomicBool>,
    failure: Failure,
    rejected: Mutex<Option<Box<dyn View>>>,
    max_failures: u64,
    /// Where places of rows are kept.
    state: PathBuf,
    watch: bool,
}

/// The first thing that went wrong: the stage and the cause.
type Failure = Arc<Mutex<Option<(String, String)>>>;

/// Runs a plan to its end. `watch` is handed the live figures once all is set up.
pub fn run(plan: Plan, registry: &Registry, options: &Options, watch: impl FnOnce(Progress)) -> Result<Outcome, Error> {
    let begin = Instant::now();
    let plan = Arc::new(plan);
    let endpoints = Arc::new(open_endpoints(&plan, registry, options)?);
    let shared = Arc::new(prepare(&plan, registry, options, &endpoints)?);
    let named = |stage: &Prepared| (stage.plan.name.clone(), stage.plan.kind.clone(), Arc::clone(&stage.counts));
    let progress = Progress(shared.stages.iter().map(named).collect());
    watch(progress.clone());
    let driven = drive::drive(Arc::clone(&shared), plan.run.workers);
    endpoints.0.values().for_each(|endpoint| endpoint.close());
    // A stage that failed is the cause of whatever became of the workers.
    if let Some((stage, cause)) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Error::Stage { stage, cause });
    }
    driven?;
    let interrupted = !shared.ending.is_quiet();
    let models = endpoints.0.iter().map(|(name, endpoint)| (name.clone(), endpoint.usage())).collect();
    Ok(Outcome { stages: progress.stages(), models, elapsed: begin.elapsed(), interrupted })
}

fn open_endpoints(plan: &Plan, registry: &Registry, options: &Options) -> Result<Endpoints, Error> {
    let path = options.out.join("state").join("memo");
    let failed = |cause: String| Error::State { path: path.clone(), cause };
    std::fs::create_dir_all(&path).map_err(|e| failed(e.to_string()))?;
    let memo = Memo::open(&path).map_err(|e| failed(format!("{e} (is another run using this folder?)")))?;
    let memo = Arc::new(memo);
    let mut endpoints = Endpoints::default();
    for model in &plan.models {
        let opened = registry.open_model(&model.name, &model.kind, &model.settings)?;
        endpoints.0.insert(model.name.clone(), Endpoint::start(opened, Arc::clone(&memo), model.max_in_flight));
    }
    Ok(endpoints)
}

fn prepare(
    plan: &Arc<Plan>,
    registry: &Registry,
    options: &Options,
    endpoints: &Arc<Endpoints>,
) -> Result<Shared, Error> {
    let ending = Ending::default();
    let mut stages = Vec::new();
    for stage in &plan.stages {
        let failed = |cause: String| Error::Stage { stage: stage.name.clone(), cause };
        let context = RunContext {
            stage: stage.name.clone(),
            out: options.out.clone(),
            plan: Arc::clone(plan),
            endpoints: Arc::clone(endpoints),
        };
        stages.push(prepare_stage(stage, registry, &context, &ending).map_err(failed)?);
    }
    mark_primary(&mut stages);
    let reader = |applied: &Applied| (Arc::clone(&applied.runner), applied.grouped.is_some());
    let runners = stages.iter().map(|stage| (stage.plan.name.clone(), stage.applied.as_ref().map(reader)));
    let rejected = rejected::Rejections::new(options.out.join("rejected.jsonl"), runners.collect());
    Ok(Shared {
        stages,
        settlement: Settlement::new(plan.run.dialogues, Limit { records: plan.run.records, bytes: plan.run.bytes }),
        ending,
        interrupt: Arc::clone(&options.interrupt),
        failure: Arc::default(),
        rejected: Mutex::new(Some(Box::new(rejected))),
        max_failures: plan.run.max_failures,
        state: options.out.join("state"),
        watch: options.watch,
    })
}

/// Marks the stages whose records reach a view by other ways than as side records.
fn mark_primary(stages: &mut [Prepared]) {
    let views = stages.iter().map(|stage| stage.applied.is_none() && stage.source.is_none());
    let mut open: Vec<usize> = views.enumerate().filter_map(|(node, is_view)| is_view.then_some(node)).collect();
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut stages[node].primary, true) {
            open.extend(&stages[node].plan.from);
        }
    }
}

fn prepare_stage(
    stage: &StagePlan,
    registry: &Registry,
    context: &RunContext,
    ending: &Ending,
) -> Result<Prepared, String> {
    let entry = registry.entry(&stage.kind).ok_or_else(|| format!("unknown type `{}`", stage.kind))?;
    let counts = Arc::new(Counts::default());
    let applied = entry.runner(&stage.settings).transpose().map_err(|e| e.0)?;
    let applied = applied.map(|(runner, build)| Applied {
        name: stage.name.clone(),
        runner,
        grouped: entry.manifest().filter(|manifest| manifest.kind == Kind::Group).map(Within::of),
        build,
        endpoints: Arc::clone(&context.endpoints),
        counts: Arc::clone(&counts),
        seed: context.plan.run.seed,
        spreads: entry.admits,
        ending: ending.clone(),
    });
    let (mut view, mut source) = (None, None);
    match &entry.body {
        Body::View(open) => view = Some(open(&stage.settings, context)?),
        Body::Source(open) => source = Some(open(&stage.settings)?),
        Body::Linked(..) | Body::Library(_) => {}
    }
    let (closes_loop, admits) = (entry.closes_loop, entry.admits);
    let view = Mutex::new(view);
    Ok(Prepared { plan: stage.clone(), counts, applied, view, source, primary: false, closes_loop, admits })
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
        let (failure, ending) = (Arc::clone(&self.failure), self.ending.clone());
        Graph {
            nodes: self.stages.iter().map(node).collect(),
            settlement: Arc::clone(&self.settlement),
            ending: self.ending.clone(),
            spill: self.spill(),
            fail: Arc::new(move |stage, cause| {
                let first = (stage.to_string(), cause);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(first);
                ending.cut();
            }),
            rejected: taken(&self.rejected),
        }
    }

    /// Stops the run if it failed too often or was interrupted.
    fn watch_over(&self) {
        let rejected: i64 = self.stages.iter().map(|stage| stage.counts.rejections()).sum();
        if u64::try_from(rejected).is_ok_and(|rejected| rejected > self.max_failures) {
            let limit = self.max_failures;
            let cause = format!("{rejected} items were rejected (see rejected.jsonl), run.max_failures is {limit}");
            self.fail("run", cause);
        }
        let interrupted = self.interrupt.load(Relaxed);
        // A run that follows its sources is over when it is told so; what it has made by then is whole.
        if self.settlement.is_quiet() && (interrupted || !self.watch) {
            self.ending.quiet();
        } else if interrupted {
            self.ending.cut();
        }
    }

    /// Ends the run for a reason of a stage.
    fn fail(&self, stage: &str, cause: String) {
        let first = (stage.to_string(), cause);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(first);
        self.ending.cut();
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
