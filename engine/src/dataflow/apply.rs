//! Runs a stage on every item: at once where it needs no model, late but never early where it does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use differential_dataflow::{AsCollection, Hashable};
use obvert_api::{Error, Outcome, Reply, Request, frame};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::scheduling::SyncActivator;

use super::ending::Ending;
use super::item::{Bytes, Event, Item, Place};
use super::{Events, Items, Tick};
use crate::count::Counts;
use crate::memo::{self, Key};
use crate::model::{Endpoints, ReplyTo, Submitted, Ticket};
use crate::stage::Runner;

/// A stage as its operator needs it.
#[derive(Clone)]
pub(crate) struct Applied {
    pub(crate) name: String,
    pub(crate) runner: Arc<dyn Runner>,
    /// Items are encoded invocations (groups) rather than records (maps).
    pub(crate) grouped: bool,
    /// What the stage's code is: part of the key of every call it makes.
    pub(crate) build: String,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) counts: Arc<Counts>,
    /// The run's seed: added to that of every request, so that one number gives other draws everywhere.
    pub(crate) seed: u64,
    /// The n-th record of an item gets a root of its own: each begins a dialogue.
    pub(crate) spreads: bool,
    pub(crate) ending: Ending,
}

/// The operator. **Invariant**: `front` never passes a time that may still arrive, so everything that lands late lands
/// at a tick where its input is present, and a retraction takes effect at its own tick.
pub(crate) fn apply<'s>(input: Items<'s>, stage: Applied) -> Events<'s> {
    let route = Exchange::new(|(item, _, _): &(Item, Tick, isize)| item.hashed());
    let name = stage.name.clone();
    let scope = input.scope();
    input
        .inner
        .unary_frontier::<CapacityContainerBuilder<Vec<_>>, _, _, _>(route, &name, move |capability, info| {
            let wake = scope.worker().sync_activator_for(info.address.to_vec());
            let mut state = State::new(stage, wake);
            let mut front: Option<Capability<Tick>> = Some(capability);
            move |(input, frontier), output| {
                let mut changes = Vec::new();
                input.for_each(|_, data| changes.append(data));
                let Some(capability) = front.as_mut() else {
                    return;
                };
                state.change(changes);
                state.answer(*capability.time());
                let mut session = output.session(&*capability);
                session.give_iterator(state.events.drain(..));
                drop(session);
                match frontier.frontier().first() {
                    Some(time) if !state.stage.ending.is_closing() => capability.downgrade(time),
                    _ => front = None,
                }
            }
        })
        .as_collection()
}

/// Rounds of requests that one item may take: a stage that never stops asking is broken.
const MAX_ROUNDS: usize = 64;

/// A run of the stage that is due: on an item, with the replies so far, on behalf of so many copies.
struct Run {
    item: Item,
    replies: Vec<Reply>,
    /// Rounds of requests before this run.
    rounds: usize,
    at: Tick,
    net: isize,
    /// A `Busy` row stands for the item.
    busy: bool,
}

/// An item that waits for replies.
struct Job {
    replies: Vec<Reply>,
    rounds: usize,
    asked: Vec<Option<Result<Reply, String>>>,
    /// What it waits for: the call, its model and its ticket.
    calls: Vec<(Key, String, Ticket)>,
    at: Tick,
    net: isize,
}

struct State {
    stage: Applied,
    jobs: HashMap<Item, Job>,
    /// Items present whose calls failed, with the reason and the copies: the memo does not know them, and further
    /// copies and their retraction must find the same outcome.
    failed: HashMap<Item, (String, isize)>,
    tickets: HashMap<Ticket, (Item, usize)>,
    issued: Ticket,
    events: Vec<(Event, Tick, isize)>,
    replies: Receiver<(Ticket, Result<Reply, String>)>,
    reply_to: ReplyTo,
}

impl State {
    fn new(stage: Applied, wake: SyncActivator) -> Self {
        let (send, replies): (Sender<(Ticket, Result<Reply, String>)>, _) = channel();
        let reply_to: ReplyTo = Arc::new(move |ticket, reply| {
            // Both fail only when the dataflow has ended, and then nobody wants the reply.
            let _ = send.send((ticket, reply));
            let _ = wake.activate();
        });
        State {
            stage,
            jobs: HashMap::new(),
            failed: HashMap::new(),
            tickets: HashMap::new(),
            issued: 0,
            events: Vec::new(),
            replies,
            reply_to,
        }
    }

    /// Takes in changes of the input.
    fn change(&mut self, mut changes: Vec<(Item, Tick, isize)>) {
        differential_dataflow::consolidation::consolidate_updates(&mut changes);
        changes.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
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
                None => due.push(Run { item, replies: Vec::new(), rounds: 0, at, net, busy: false }),
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
    fn answer(&mut self, front: Tick) {
        let mut due = Vec::new();
        while let Ok((ticket, reply)) = self.replies.try_recv() {
            let Some((item, index)) = self.tickets.remove(&ticket) else {
                continue;
            };
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
                    due.push(Run { item, replies: job.replies, rounds: job.rounds + 1, at, net: job.net, busy: true });
                }
                Err(reason) => {
                    self.settle(&item, at);
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
            let payloads: Vec<_> = due.iter().map(|run| self.payload(run)).collect();
            let outcomes = self.stage.runner.run(&payloads);
            let round = std::mem::take(&mut due);
            for (run, outcome) in round.into_iter().zip(outcomes) {
                due.extend(self.conclude(run, outcome));
            }
        }
    }

    fn payload(&self, run: &Run) -> Vec<u8> {
        let replies = &run.replies;
        let encoded = if self.stage.grouped {
            frame::decode_invocation(&run.item.bytes.0)
                .and_then(|group| frame::encode_invocation(group.key, &group.records, &group.with, replies))
        } else {
            frame::encode_invocation("", &[&run.item.bytes.0], &[], replies)
        };
        encoded.unwrap_or_default()
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
        self.settle_if(run.busy, &run.item, run.at);
        self.reject(run.item, reason, run.at, run.net);
    }

    fn emit(&mut self, run: Run, records: Vec<Vec<u8>>) {
        self.settle_if(run.busy, &run.item, run.at);
        self.stage.counts.finish(run.net, records.len() as isize * run.net);
        for (index, record) in records.into_iter().enumerate() {
            let Place { root, lap } = run.item.place;
            let root = if self.stage.spreads { root + index as u64 } else { root };
            let item = Item { place: Place { root, lap }, bytes: Bytes::from(record) };
            self.events.push((Event::Out(item), run.at, run.net));
        }
    }

    /// Answers requests from the memo, or makes the item wait for the calls.
    fn ask(&mut self, mut run: Run, mut requests: Vec<Request>) -> Option<Run> {
        if run.rounds >= MAX_ROUNDS {
            self.conclude_rejected(run, format!("it asked for replies {MAX_ROUNDS} times and still asks"));
            return None;
        }
        for request in &mut requests {
            request.sampling.seed = request.sampling.seed.wrapping_add(self.stage.seed);
        }
        let asked = requests.iter().map(|request| self.recall(request)).collect::<Result<Vec<_>, _>>();
        match asked {
            Err(reason) => self.conclude_rejected(run, reason),
            Ok(asked) if asked.iter().all(|(_, reply)| reply.is_some()) => {
                asked.iter().for_each(|_| self.stage.counts.hit());
                run.replies.extend(asked.into_iter().filter_map(|(_, reply)| reply));
                run.rounds += 1;
                return Some(run);
            }
            Ok(_) if run.net < 0 => self.conclude_rejected(run, "its replies are gone from the memo".into()),
            Ok(asked) => self.wait(run, requests, asked),
        }
        None
    }

    fn recall(&self, request: &Request) -> Result<(Key, Option<Reply>), String> {
        let endpoint = self.stage.endpoints.get(&request.model)?;
        let key = memo::key(&self.stage.build, &endpoint.model().identity(), request);
        Ok((key, endpoint.recall(&key)?))
    }

    fn wait(&mut self, run: Run, requests: Vec<Request>, asked: Vec<(Key, Option<Reply>)>) {
        if !run.busy {
            self.events.push((busy(&run.item), run.at, 1));
        }
        let mut calls = Vec::new();
        for (index, (request, (key, reply))) in requests.into_iter().zip(&asked).enumerate() {
            match reply {
                Some(_) => self.stage.counts.hit(),
                None => calls.push(self.call(&run.item, index, *key, request)),
            }
        }
        let asked = asked.into_iter().map(|(_, reply)| reply.map(Ok)).collect();
        let Run { item, replies, rounds, at, net, .. } = run;
        self.jobs.insert(item, Job { replies, rounds, asked, calls, at, net });
    }

    /// Queues the call for the item's request of that index.
    fn call(&mut self, item: &Item, index: usize, key: Key, request: Request) -> (Key, String, Ticket) {
        self.issued += 1;
        self.tickets.insert(self.issued, (item.clone(), index));
        let (Place { root, lap }, model) = (item.place, request.model.clone());
        if let Ok(endpoint) = self.stage.endpoints.get(&model) {
            match endpoint.submit(key, request, lap, root, self.issued, Arc::clone(&self.reply_to)) {
                Submitted::Queued => self.stage.counts.call(),
                Submitted::Known => self.stage.counts.hit(),
                Submitted::Joined => {}
            }
        }
        (key, model, self.issued)
    }

    /// Forgets an item that was withdrawn while it waited, and its calls that have not begun; replies still on their
    /// way are memoized and ignored.
    fn give_up(&mut self, item: Item, at: Tick) {
        let calls = self.jobs.remove(&item).map(|job| job.calls).unwrap_or_default();
        for (key, model, ticket) in calls {
            self.tickets.remove(&ticket);
            let withdrawn = self.stage.endpoints.get(&model).is_ok_and(|endpoint| endpoint.withdraw(&key, ticket));
            if withdrawn {
                self.stage.counts.withdraw();
            }
        }
        self.settle(&item, at);
    }

    fn reject(&mut self, item: Item, reason: String, at: Tick, net: isize) {
        self.stage.counts.reject(net);
        self.events.push((Event::Rejected(item, reason), at, net));
    }

    fn settle_if(&mut self, busy: bool, item: &Item, at: Tick) {
        if busy {
            self.settle(item, at);
        }
    }

    fn settle(&mut self, item: &Item, at: Tick) {
        self.events.push((busy(item), at, -1));
    }
}

fn busy(item: &Item) -> Event {
    Event::Busy(item.place, item.hashed())
}
