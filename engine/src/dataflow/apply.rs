//! A stage and its items: it is run on each at once where it needs no model, late but never early where it does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;

use obvert_api::{Error, MOST_ROUNDS, Manifest, Outcome, Reply, Request};
use smallvec::SmallVec;
use timely::scheduling::SyncActivator;

use super::ending::Ending;
use super::item::{Busy, Bytes, Item, Place, record_id};
use super::port::Emitted;
use super::{Tick, Update};
use crate::context::Observer;
use crate::count::Counts;
use crate::memo::{Identity, Key};
use crate::model::{Call, Endpoints, ReplyTo, Ticket, Via, ticket};
use crate::stage::{Runner, Work, in_stage};
use crate::tracer::{Became, Tracer, Waited, Whose};

/// A stage as its operator needs it.
#[derive(Clone)]
pub(crate) struct Applied {
    pub(crate) name: Arc<str>,
    pub(crate) runner: Arc<dyn Runner>,
    /// Items are encoded invocations: of groups of such an extent. Else they are records.
    pub(crate) grouped: Option<Within>,
    /// What the stage's code is: part of the key of every call it makes.
    pub(crate) build: String,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) counts: Arc<Counts>,
    /// The run's seed: added to that of every request, so that one number gives other draws everywhere.
    pub(crate) seed: u64,
    /// The n-th record of an item gets a root of its own: each begins a dialogue.
    pub(crate) spreads: bool,
    /// Its settings name a model.
    pub(crate) names_model: bool,
    /// Is told of every item, and of every call that is asked for; none is made then.
    pub(crate) trace: Option<Trace>,
    /// Sees its records.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Is told of items that waited for models.
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
    pub(crate) ending: Ending,
}

impl Applied {
    /// Whoever looks at its records just now.
    pub(super) fn observer(&self) -> Option<&dyn Observer> {
        self.observer.as_deref().filter(|observer| observer.looks())
    }

    /// Whether it is a map that has nothing to wait for, and each of whose records stays in its place.
    pub(super) fn is_plain(&self) -> bool {
        self.grouped.is_none() && !self.names_model && !self.spreads
    }
}

/// Looks at items, and at calls instead of making them.
pub(crate) type Trace = Arc<dyn Fn(Traced<'_>) + Send + Sync>;

/// An item that comes to a stage, or a call that it asks for.
pub(crate) struct Traced<'a> {
    pub(crate) stage: &'a Applied,
    pub(crate) item: &'a Item,
    pub(crate) call: Option<(&'a Request, &'a Identity)>,
    /// Copies of the item that come, or go.
    pub(crate) net: isize,
}

/// How far the records of a group may lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// All come from one row of a source.
    Row,
    /// Any record may belong to any group.
    All,
}

impl Within {
    /// That of a group stage.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        if manifest.within_row { Within::Row } else { Within::All }
    }
}

/// Where the work on an item is done: always the same worker for all of a root, so that a record's withdrawal finds it.
pub(crate) fn home(root: u64) -> u64 {
    root.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// Items that are handed to the stage at once: more would not stay in the processor's caches from one stage to the next.
pub(super) const BATCH: usize = 128;

/// A run of the stage that is due: on an item, with the replies so far, on behalf of so many copies.
struct Run {
    item: Item,
    replies: Vec<Reply>,
    /// Rounds of requests before this run.
    rounds: usize,
    at: Tick,
    net: isize,
    /// Since when a `Busy` row stands for the item, if one does.
    since: Option<SystemTime>,
}

/// An item that waits for replies.
struct Job {
    replies: Vec<Reply>,
    rounds: usize,
    asked: Vec<Option<Result<Reply, String>>>,
    /// What it waits for: the call, its model and its ticket.
    calls: Vec<(Key, String, Ticket)>,
    since: SystemTime,
    at: Tick,
    net: isize,
}

/// A reply, and how it was come by.
type Answer = (Ticket, Result<Reply, String>, Via);

/// A stage with all that it waits for.
pub(super) struct State {
    pub(super) stage: Applied,
    jobs: HashMap<Item, Job>,
    /// Items present whose calls failed, with the reason and the copies: the memo does not know them, and further
    /// copies and their retraction must find the same outcome.
    failed: HashMap<Item, (String, isize)>,
    tickets: HashMap<Ticket, (Item, usize)>,
    pub(super) emitted: Emitted,
    replies: Receiver<Answer>,
    reply_to: ReplyTo,
}

impl State {
    pub(super) fn new(stage: Applied, wake: SyncActivator) -> Self {
        let (send, replies): (Sender<Answer>, _) = channel();
        let reply_to: ReplyTo = Arc::new(move |ticket, reply, via| {
            // Both fail only when the dataflow has ended, and then nobody wants the reply.
            let _ = send.send((ticket, reply, via));
            let _ = wake.activate();
        });
        State {
            stage,
            jobs: HashMap::new(),
            failed: HashMap::new(),
            tickets: HashMap::new(),
            emitted: Emitted::default(),
            replies,
            reply_to,
        }
    }

    /// Whether no item waits or is remembered, and nobody looks: what becomes of any is up to the stage's code then.
    pub(super) fn passes(&self) -> bool {
        self.jobs.is_empty() && self.failed.is_empty() && self.stage.observer().is_none() && self.stage.trace.is_none()
    }

    /// Takes in changes of the input.
    pub(super) fn change(&mut self, mut changes: Vec<Update<Item>>) {
        // What comes and goes at once costs no call.
        if changes.iter().any(|(_, _, net)| *net < 0) {
            differential_dataflow::consolidation::consolidate_updates(&mut changes);
            changes.sort_by_key(|(_, at, _)| *at);
        }
        let mut due = Vec::new();
        for (item, at, net) in changes {
            self.stage.counts.take(net);
            if let Some(reason) = self.fail_again(&item, net) {
                self.reject(item, reason, at, net);
                continue;
            }
            match self.jobs.get_mut(&item) {
                Some(job) => {
                    job.net += net;
                    job.at = job.at.max(at);
                    if job.net == 0 {
                        self.give_up(item, at);
                    }
                }
                None => {
                    self.trace(&item, net, None);
                    due.push(Run { item, replies: Vec::new(), rounds: 0, at, net, since: None });
                }
            }
            if due.len() >= BATCH {
                self.run(std::mem::take(&mut due));
            }
        }
        self.run(due);
    }

    /// The reason why an item failed before, if it is still there; more or fewer copies of it then.
    fn fail_again(&mut self, item: &Item, net: isize) -> Option<String> {
        let (reason, copies) = self.failed.get_mut(item)?;
        *copies += net;
        let (reason, gone) = (reason.clone(), *copies == 0);
        if gone {
            self.failed.remove(item);
        }
        Some(reason)
    }

    /// Takes in replies; what they complete lands at `front` at the earliest.
    pub(super) fn answer(&mut self, front: Tick) {
        let mut due = Vec::new();
        while let Ok((ticket, reply, via)) = self.replies.try_recv() {
            let Some((item, index)) = self.tickets.remove(&ticket) else {
                continue;
            };
            match via {
                Via::Call => self.stage.counts.call(),
                Via::Memo => self.stage.counts.hit(),
                Via::SameCall => {}
            }
            let Some(job) = self.jobs.get_mut(&item) else {
                continue;
            };
            job.asked[index] = Some(reply);
            if job.asked.iter().any(Option::is_none) {
                continue;
            }
            let Some(mut job) = self.jobs.remove(&item) else {
                continue;
            };
            let at = job.at.max(front);
            match job.asked.into_iter().flatten().collect::<Result<Vec<_>, _>>() {
                Ok(new) => {
                    job.replies.extend(new);
                    let (rounds, since) = (job.rounds + 1, Some(job.since));
                    due.push(Run { item, replies: job.replies, rounds, at, net: job.net, since });
                }
                Err(reason) => {
                    self.settle(&item, at, job.since, Became::SetAside(&reason));
                    self.failed.insert(item.clone(), (reason.clone(), job.net));
                    self.reject(item, reason, at, job.net);
                }
            }
        }
        self.run(due);
    }

    /// Runs the stage until every item has its outcome or waits.
    fn run(&mut self, mut due: Vec<Run>) {
        while !due.is_empty() {
            let work: Vec<_> = due.iter().map(|run| Work { item: &run.item.bytes.0, replies: &run.replies }).collect();
            let outcomes = in_stage(Some(&self.stage.name), || self.stage.runner.run(&work));
            let round = std::mem::take(&mut due);
            for (run, outcome) in round.into_iter().zip(outcomes) {
                due.extend(self.conclude(run, outcome));
            }
        }
    }

    /// Acts on an outcome; a run that the memo can go on with at once is due again.
    fn conclude(&mut self, run: Run, outcome: Result<Outcome, Error>) -> Option<Run> {
        match outcome {
            Ok(outcome) if outcome.requests.is_empty() => self.emit(run, outcome.records),
            Ok(outcome) => return self.ask(run, outcome.requests),
            Err(error) => self.conclude_rejected(run, error.0),
        }
        None
    }

    fn conclude_rejected(&mut self, run: Run, reason: String) {
        self.settle_if(run.since, &run.item, run.at, Became::SetAside(&reason));
        self.reject(run.item, reason, run.at, run.net);
    }

    fn emit(&mut self, run: Run, records: SmallVec<[Arc<[u8]>; 1]>) {
        self.settle_if(run.since, &run.item, run.at, Became::Records(records.len()));
        self.stage.counts.finish(run.net, records.len() as isize * run.net);
        if let Some(observer) = self.stage.observer() {
            records.iter().for_each(|record| observer.see(record, run.net));
        }
        for (index, record) in records.into_iter().enumerate() {
            let Place { root, lap } = run.item.place;
            let root = if self.stage.spreads { root + index as u64 } else { root };
            let item = Item { place: Place { root, lap }, bytes: Bytes(record) };
            self.emitted.items.push((item, run.at, run.net));
        }
    }

    /// Answers requests from the memo, or makes the item wait for the calls.
    fn ask(&mut self, mut run: Run, mut requests: Vec<Request>) -> Option<Run> {
        if run.rounds >= MOST_ROUNDS {
            self.conclude_rejected(run, format!("it asked for replies {MOST_ROUNDS} times and still asks"));
            return None;
        }
        for request in &mut requests {
            request.sampling.seed = request.sampling.seed.wrapping_add(self.stage.seed);
        }
        let asked = requests.iter().map(|request| self.recall(&run, request)).collect::<Result<Vec<_>, _>>();
        match asked {
            Err(reason) => self.conclude_rejected(run, reason),
            Ok(asked) if asked.iter().all(|(_, reply)| reply.is_some()) => {
                asked.iter().for_each(|_| self.stage.counts.hit());
                run.replies.extend(asked.into_iter().filter_map(|(_, reply)| reply));
                run.rounds += 1;
                return Some(run);
            }
            Ok(_) if self.stage.trace.is_some() => self.conclude_rejected(run, "its calls are not made".into()),
            Ok(asked) => self.wait(run, requests, asked),
        }
        None
    }

    /// The memo's reply. Another process has to be asked for its own, by what is withdrawn too.
    fn recall(&self, run: &Run, request: &Request) -> Result<(Identity, Option<Reply>), String> {
        let endpoint = self.stage.endpoints.get(&request.model)?;
        let identity = endpoint.identify(&self.stage.build, request);
        self.trace(&run.item, run.net, Some((request, &identity)));
        match endpoint.recall(&identity.key, &self.stage.name)? {
            None if run.net < 0 && endpoint.keeps(&identity.key) => Err("its replies are gone from the memo".into()),
            reply => Ok((identity, reply)),
        }
    }

    fn trace(&self, item: &Item, net: isize, call: Option<(&Request, &Identity)>) {
        if let Some(trace) = &self.stage.trace {
            trace(Traced { stage: &self.stage, item, call, net });
        }
    }

    fn wait(&mut self, run: Run, requests: Vec<Request>, asked: Vec<(Identity, Option<Reply>)>) {
        // Another copy of it that came at the same time waits already.
        if let Some(job) = self.jobs.get_mut(&run.item) {
            (job.net, job.at) = (job.net + run.net, job.at.max(run.at));
            return;
        }
        if run.since.is_none() {
            self.emitted.busy.push((Busy::with(&run.item), run.at, 1));
        }
        let record: Arc<str> = record_id(&run.item.bytes.0).into();
        let since = run.since.unwrap_or_else(SystemTime::now);
        let mut calls = Vec::new();
        for (index, (request, (identity, reply))) in requests.into_iter().zip(&asked).enumerate() {
            match reply {
                Some(_) => self.stage.counts.hit(),
                None => calls.push(self.call(&run.item, (&record, since), index, (*identity, request))),
            }
        }
        let asked = asked.into_iter().map(|(_, reply)| reply.map(Ok)).collect();
        let Run { item, replies, rounds, at, net, .. } = run;
        self.jobs.insert(item, Job { replies, rounds, asked, calls, since, at, net });
    }

    /// Queues the call for the request of that index of an item, which goes by that id and waits since then.
    fn call(
        &mut self,
        item: &Item,
        (record, since): (&Arc<str>, SystemTime),
        index: usize,
        (identity, request): (Identity, Request),
    ) -> (Key, String, Ticket) {
        let ticket = ticket();
        self.tickets.insert(ticket, (item.clone(), index));
        let (Place { root, lap }, model) = (item.place, request.model.clone());
        if let Ok(endpoint) = self.stage.endpoints.get(&model) {
            let (stage, record) = (Arc::clone(&self.stage.name), Arc::clone(record));
            let call = Call { identity, request, stage, record, root, lap, since };
            endpoint.submit(call, ticket, Arc::clone(&self.reply_to));
        }
        (identity.key, model, ticket)
    }

    /// Forgets an item that was withdrawn while it waited, and its calls that have not begun; replies still on their
    /// way are memoized and ignored.
    fn give_up(&mut self, item: Item, at: Tick) {
        let Some(Job { calls, since, .. }) = self.jobs.remove(&item) else { return };
        for (key, model, ticket) in calls {
            self.tickets.remove(&ticket);
            if let Ok(endpoint) = self.stage.endpoints.get(&model) {
                endpoint.withdraw(&key, ticket);
            }
        }
        self.settle(&item, at, since, Became::Withdrawn);
    }

    fn reject(&mut self, item: Item, reason: String, at: Tick, net: isize) {
        self.stage.counts.reject(net);
        self.emitted.rejected.push(((item, reason), at, net));
    }

    fn settle_if(&mut self, since: Option<SystemTime>, item: &Item, at: Tick, became: Became<'_>) {
        if let Some(since) = since {
            self.settle(item, at, since, became);
        }
    }

    /// An item waits for nothing any more.
    fn settle(&mut self, item: &Item, at: Tick, since: SystemTime, became: Became<'_>) {
        self.emitted.busy.push((Busy::with(item), at, -1));
        if let Some(tracer) = &self.stage.tracer {
            let (Place { root, lap }, record) = (item.place, record_id(&item.bytes.0));
            let whose = Whose { stage: &self.stage.name, record: &record, root, lap, since };
            tracer.item(&Waited { whose, ended: SystemTime::now(), became });
        }
    }
}
