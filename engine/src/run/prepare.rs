//! From a checked plan to stages that are created: what all workers share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use obvert_api::erased::Kind;
use obvert_api::{Manifest, Operation, Port};

use super::budget::Budget;
use super::company::{self, Company};
use super::observed::ObservedView;
use super::rejected::Rejections;
use super::shown::Reader;
use super::{Beside, Options, Prepared, Shared, Stop};
use crate::cluster::Met;
use crate::context::ToJson;
use crate::dataflow::{Applied, Limit, Settlement, View, Within};
use crate::memo::{self, Memo};
use crate::model::{Endpoint, Endpoints, Named, Owners, owner};
use crate::pipeline::{Plan, StagePlan};
use crate::registry::{Body, Entry};
use crate::stage::{Runner, ask_one, in_stage};
use crate::{Counts, Error, Observed, Observer, Registry, RunContext};

/// Waits for the other processes.
pub(super) fn meet(beside: Beside, plan: &Plan, registry: &Registry) -> Result<Met, Error> {
    let Beside { seat, pipeline, deadline } = beside;
    seat.meet(company::work(plan, registry, &pipeline), deadline).map_err(Error::Cluster)
}

/// Parts the memos of a folder for so many processes, and keeps others from doing the same.
pub(super) fn arrange(options: &Options, processes: usize) -> Result<memo::Held, Error> {
    let state = options.memo.join("state");
    let held = memo::arrange(&state, processes, owner);
    held.map_err(|cause| Error::State { path: state.clone(), cause })?.ok_or(Error::Taken(state))
}

/// Opens memo and models.
pub(super) fn open_endpoints(
    plan: &Plan,
    registry: &Registry,
    options: &Options,
    stop: &Stop,
    owners: Option<Owners>,
) -> Result<Endpoints, Error> {
    let path = memo::folder(&options.memo.join("state"), owners.as_ref().map_or(0, |owners| owners.index));
    let failed = |cause: String| Error::State { path: path.clone(), cause };
    let memo = Memo::shared(&path).map_err(failed)?;
    let mut endpoints = Endpoints::default();
    for model in &plan.models {
        let opened = registry.open_model(&model.name, &model.kind, &model.settings)?;
        let tracer = options.tracer.clone();
        let named = Named { pipeline: &plan.name, name: &model.name, model: opened, tracer };
        let limits = model.limits.part_of(owners.as_ref().map_or(1, |owners| owners.count));
        let endpoint = Endpoint::start(named, Arc::clone(&memo), limits, owners.clone(), stop.on_failure());
        endpoints.0.insert(model.name.clone(), endpoint);
    }
    Ok(endpoints)
}

/// Creates all stages.
pub(super) fn prepare(
    plan: &Arc<Plan>,
    registry: &Registry,
    options: &Options,
    endpoints: &Arc<Endpoints>,
    stop: Stop,
    company: Option<Company>,
) -> Result<Shared, Error> {
    // Views are the first process's, and whoever looks at calls wants nothing written.
    let views = options.trace.is_none() && company.as_ref().is_none_or(|company| company.others.index == 0);
    let preparing = Preparing { plan, registry, options, endpoints, stop: &stop, views };
    let mut stages = plan.stages.iter().map(|stage| preparing.stage(stage)).collect::<Result<Vec<_>, _>>()?;
    // Views are opened last: they ask their inputs to show records.
    for node in 0..stages.len() {
        let view = preparing.view(&stages, node).map_err(failed(&stages[node].plan))?;
        stages[node].view = Mutex::new(view);
    }
    mark_primary(&mut stages);
    admit_behind(&mut stages);
    let readers = (0..stages.len()).map(|node| (stages[node].plan.name.clone(), preparing.reader(&stages, node)));
    let rejected = Rejections::new(options.out.join("rejected.jsonl"), readers.collect());
    Ok(Shared {
        stages,
        settlement: Settlement::new(plan.run.dialogues, Limit { records: plan.run.records, bytes: plan.run.bytes }),
        stop,
        endpoints: Arc::clone(endpoints),
        steering: options.steering.clone(),
        paused: AtomicBool::new(false),
        rejected: Mutex::new(views.then(|| Box::new(rejected) as Box<dyn View>)),
        versions: options.trace.is_none(),
        budget: Budget { failures: plan.run.max_failures, share: plan.run.max_failure_share },
        state: options.out.join("state"),
        watch: options.watch,
        company,
    })
}

fn failed(stage: &StagePlan) -> impl Fn(String) -> Error {
    move |cause| Error::Stage { stage: stage.name.clone(), cause }
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

/// What waits for versions is let in behind that: a dialogue that holds a credit must not wait for one that has none.
fn admit_behind(stages: &mut [Prepared]) {
    let mut open: Vec<usize> = (0..stages.len()).filter(|node| stages[*node].lag.is_some()).collect();
    open.iter().for_each(|node| stages[*node].admits = true);
    while let Some(node) = open.pop() {
        for from in stages[node].plan.from.clone() {
            stages[from].admits = false;
            open.push(from);
        }
    }
}

struct Preparing<'a> {
    plan: &'a Arc<Plan>,
    registry: &'a Registry,
    options: &'a Options,
    endpoints: &'a Arc<Endpoints>,
    stop: &'a Stop,
    views: bool,
}

impl Preparing<'_> {
    fn entry(&self, stage: &StagePlan) -> Result<&Entry, Error> {
        self.registry.entry(&stage.kind).ok_or_else(|| failed(stage)(format!("unknown type `{}`", stage.kind)))
    }

    /// A stage without its view.
    fn stage(&self, stage: &StagePlan) -> Result<Prepared, Error> {
        let entry = self.entry(stage)?;
        let counts = Arc::new(Counts::default());
        let name: Arc<str> = stage.name.as_str().into();
        let applied = in_stage(Some(&name), || entry.runner(&stage.settings, stage.isolation));
        let applied = applied.transpose().map_err(|e| failed(stage)(e.0))?.map(|(runner, build)| Applied {
            name,
            observer: self.observer(&stage.name, entry.output.as_deref(), shown_by(&runner)),
            tracer: self.options.tracer.clone(),
            runner,
            grouped: entry.manifest().filter(|manifest| manifest.kind == Kind::Group).map(Within::of),
            build,
            endpoints: Arc::clone(self.endpoints),
            counts: Arc::clone(&counts),
            seed: self.plan.run.seed,
            spreads: entry.admits,
            names_model: entry.manifest().is_some_and(Manifest::names_model),
            trace: self.options.trace.clone(),
            ending: self.stop.ending.clone(),
        });
        let source = match &entry.body {
            Body::Source(open) => Some(open(&stage.settings, self.plan.run.seed).map_err(failed(stage))?),
            _ => None,
        };
        let (closes_loop, admits, view) = (entry.closes_loop, entry.admits, Mutex::new(None));
        let (plan, lag) = (stage.clone(), entry.lag.map(|lag| lag(&stage.settings)));
        let sides_first = entry.sides_first;
        let observer = source.is_some().then(|| self.observer(&stage.name, entry.output.as_deref(), made_by(entry)));
        let observer = observer.flatten();
        Ok(Prepared {
            plan,
            counts,
            applied,
            view,
            source,
            observer,
            primary: false,
            closes_loop,
            sides_first,
            lag,
            admits,
        })
    }

    /// Who looks at the records of a stage.
    fn observer(&self, stage: &str, record: Option<&str>, to_json: ToJson) -> Option<Arc<dyn Observer>> {
        self.options.observers.as_ref()?(Observed { stage, record: record.unwrap_or_default(), to_json })
    }

    /// The view of a stage, if it is one and is wanted.
    fn view(&self, stages: &[Prepared], node: usize) -> Result<Option<Box<dyn View>>, String> {
        let stage = &stages[node].plan;
        let Some(Body::View(open)) = self.registry.entry(&stage.kind).map(|entry| &entry.body) else {
            return Ok(None);
        };
        if !self.views {
            return Ok(None);
        }
        let context = RunContext {
            stage: stage.name.clone(),
            out: self.options.out.clone(),
            plan: Arc::clone(self.plan),
            to_json: self.to_json(stages, node),
        };
        let (to_json, view) = (Arc::clone(&context.to_json), open(&stage.settings, &context)?);
        // What it makes is not what reaches it.
        let sink = self.registry.entry(&stage.kind).is_some_and(|entry| entry.output.is_none());
        Ok(Some(match self.observer(&stage.name, None, to_json).filter(|_| sink) {
            Some(observer) => Box::new(ObservedView { view, observer }),
            None => view,
        }))
    }

    /// How to show what comes to a stage; nothing of a source.
    fn reader(&self, stages: &[Prepared], node: usize) -> Option<Reader> {
        let stage = &stages[node];
        let made = || stage.source.is_none().then(|| Reader::Made(self.to_json(stages, node)));
        stage.applied.as_ref().map(Reader::of).or_else(made)
    }

    /// How to read what comes in: all inputs make records of one type.
    fn to_json(&self, stages: &[Prepared], node: usize) -> ToJson {
        let Some(from) = stages[node].plan.from.first().map(|from| &stages[*from]) else {
            return Arc::new(|_| Err("the stage has no input".into()));
        };
        if let Some(applied) = &from.applied {
            return shown_by(&applied.runner);
        }
        match self.registry.entry(&from.plan.kind) {
            Some(entry) => made_by(entry),
            None => Arc::new(|_| Err("its input is of an unknown type".into())),
        }
    }
}

/// How a source, or a view that makes records, shows them.
fn made_by(entry: &Entry) -> ToJson {
    match entry.to_json {
        Some(to_json) => Arc::new(move |record| to_json(record).map_err(|error| error.0)),
        None => Arc::new(|_| Err("it does not say how to read its records".into())),
    }
}

/// How a stage shows its records.
fn shown_by(runner: &Arc<dyn Runner>) -> ToJson {
    let runner = Arc::clone(runner);
    Arc::new(move |record| {
        let json = ask_one(&*runner, Operation::ToJson(Port::Out), record);
        json.map(|json| json.to_vec()).map_err(|error| error.0)
    })
}
