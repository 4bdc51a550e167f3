//! The processes of a run, as one of them sees them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use timely::worker::Worker;

use super::Shared;
use super::post::{Mail, Outbox, carry};
use crate::cluster::Others;
use crate::model::{ByStage, Endpoints, Owners, ReplyTo, ticket_of};
use crate::pipeline::Plan;
use crate::registry::Body;
use crate::{Registry, StageCount};

/// Between two reports of what a process has done.
const EVERY: Duration = Duration::from_millis(300);

/// This process among the others.
pub(super) struct Company {
    pub(super) others: Others,
    /// Workers of each process.
    pub(super) threads: usize,
    outbox: Outbox,
    endpoints: Arc<Endpoints>,
    pub(super) reported: Reported,
    reporting: Mutex<Reporting>,
}

/// What the other processes have done so far.
#[derive(Clone, Default)]
pub(super) struct Reported(Arc<Mutex<Reports>>);

/// What each process has done.
type Reports = BTreeMap<usize, (Vec<StageCount>, Vec<ByStage>)>;

struct Reporting {
    last: Instant,
    interrupted: bool,
}

impl Company {
    pub(super) fn new(others: Others, threads: usize, outbox: Outbox, endpoints: Arc<Endpoints>) -> Self {
        let reporting = Mutex::new(Reporting { last: Instant::now(), interrupted: false });
        Company { others, threads, outbox, endpoints, reported: Reported::default(), reporting }
    }

    /// Which process makes which call.
    pub(super) fn owners(others: &Others, outbox: &Outbox) -> Owners {
        Owners { index: others.index, count: others.count(), outbox: outbox.clone() }
    }

    /// Carries this process's mail on a worker; all workers do this first.
    pub(super) fn carry(&self, worker: &mut Worker, shared: &Arc<Shared>) {
        let of = Arc::clone(shared);
        carry(worker, &self.outbox, self.threads, move |from, mail| {
            if let Some(company) = &of.company {
                company.receive(&of, from, mail);
            }
        });
    }

    fn receive(&self, shared: &Shared, from: usize, mail: Mail) {
        match mail {
            Mail::Call(call) => {
                let (outbox, key, model) = (self.outbox.clone(), call.identity.key, call.request.model.clone());
                let named = model.clone();
                let to: ReplyTo =
                    Arc::new(move |_, reply, via| outbox.send(from, Mail::Answer(key, named.clone(), reply, via)));
                if let Ok(endpoint) = self.endpoints.get(&model) {
                    endpoint.submit(*call, ticket_of(from), to);
                }
            }
            Mail::Answer(key, model, reply, via) => {
                if let Ok(endpoint) = self.endpoints.get(&model) {
                    endpoint.answered(&key, &reply, via);
                }
            }
            Mail::Withdraw(key, model) => {
                if let Ok(endpoint) = self.endpoints.get(&model) {
                    endpoint.withdraw(&key, ticket_of(from));
                }
            }
            Mail::Counts(stages, models) => drop(self.reported.lock().insert(from, (stages, models))),
            Mail::Failed(stage, cause) => shared.stop.fail(&stage, format!("{cause} (process {from})")),
            Mail::Interrupted => shared.steering.interrupt.store(true, Relaxed),
            Mail::Held(held) => shared.hold(held),
            Mail::End(true) => shared.stop.ending.quiet(),
            Mail::End(false) => shared.stop.ending.cut(),
        }
    }

    /// Ends the run where a process is lost; tells the first one what this one, another, has done, and whether it has to stop.
    pub(super) fn watch_over(&self, shared: &Shared) {
        if self.others.are_lost() {
            shared.stop.ending.lose();
        }
        if self.others.index > 0 {
            self.report(shared);
        }
    }

    fn report(&self, shared: &Shared) {
        let mut reporting = self.reporting.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.steering.interrupt.load(Relaxed) && !std::mem::replace(&mut reporting.interrupted, true) {
            self.outbox.send(0, Mail::Interrupted);
        }
        if reporting.last.elapsed() > EVERY {
            reporting.last = Instant::now();
            self.send_counts(shared);
        }
    }

    /// Tells all others, from the first process.
    pub(super) fn tell_others(&self, mail: impl Fn() -> Mail) {
        (1..self.others.count()).for_each(|other| self.outbox.send(other, mail()));
    }

    /// Says the last of this process: that the run is over, or what it has done for it.
    pub(super) fn part(&self, shared: &Shared) {
        if self.others.index == 0 {
            let whole = shared.stop.ending.is_quiet();
            self.tell_others(|| Mail::End(whole));
        } else {
            if let Some((stage, cause)) = shared.stop.first_failure() {
                self.outbox.send(0, Mail::Failed(stage, cause));
            }
            self.send_counts(shared);
        }
        self.outbox.close();
    }

    fn send_counts(&self, shared: &Shared) {
        let stages = shared.stages.iter().map(|stage| stage.counts.read(&stage.plan.name, &stage.plan.kind));
        let models = self.endpoints.0.values().map(|endpoint| endpoint.usage());
        self.outbox.send(0, Mail::Counts(stages.collect(), models.collect()));
    }
}

impl Reported {
    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all processes together have done, from what this one has.
    pub(super) fn stages(&self, mut own: Vec<StageCount>) -> Vec<StageCount> {
        for (stages, _) in self.lock().values() {
            own.iter_mut().zip(stages).for_each(|(own, other)| own.add(other));
        }
        own
    }

    /// Items that the other processes' stages have handled, and those of them that they set aside.
    pub(super) fn handled(&self) -> Vec<(i64, i64)> {
        let mut handled: Vec<(i64, i64)> = Vec::new();
        for (stages, _) in self.lock().values() {
            handled.resize(stages.len(), (0, 0));
            for (sum, stage) in handled.iter_mut().zip(stages) {
                *sum = (sum.0 + stage.done + stage.rejected, sum.1 + stage.rejected);
            }
        }
        handled
    }

    /// What the models of all processes were asked, from what those of this one were.
    pub(super) fn models(&self, mut own: Vec<(String, ByStage)>) -> Vec<(String, ByStage)> {
        for (_, models) in self.lock().values() {
            for ((_, own), other) in own.iter_mut().zip(models) {
                other.iter().for_each(|(stage, usage)| own.entry(Arc::clone(stage)).or_default().add(usage));
            }
        }
        own
    }
}

/// What processes have to agree on: the pipeline, how it is run, and the code of its stages.
pub(super) fn work(plan: &Plan, registry: &Registry, pipeline: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut put = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    put(pipeline);
    put(env!("CARGO_PKG_VERSION").as_bytes());
    put(&plan.run.workers.to_le_bytes());
    for stage in &plan.stages {
        let build = match registry.entry(&stage.kind).map(|entry| &entry.body) {
            Some(Body::Library(library)) => library.build.as_str(),
            Some(Body::Linked(_, manifest)) => manifest.version.as_str(),
            _ => "",
        };
        put(build.as_bytes());
    }
    *hasher.finalize().as_bytes()
}
