//! One model's queue: requests in, replies out through the memo.

mod gate;
mod keeper;
mod lanes;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use obvert_api::{Reply, Request};
use serde::{Deserialize, Serialize};

use super::{ByStage, Failure, Limits, Model, Then};
use crate::dataflow::OnFailure;
use crate::memo::{CallPlace, Entry, Identity, Key, Memo, Origin, Paid, now};
use crate::run::{Mail, Outbox};
use crate::tracer::Tracer;
use keeper::Done;
use queue::{Queue, Queued};

/// What a model made of a request.
type Answer = Result<Reply, Failure>;

/// A pause that people should know of.
const WORTH_SAYING: Duration = Duration::from_secs(5);

/// Says where a reply belongs: a number that nobody else has.
pub type Ticket = u64;

/// A new ticket.
pub(crate) fn ticket() -> Ticket {
    static ISSUED: AtomicU64 = AtomicU64::new(0);
    ISSUED.fetch_add(1, Relaxed)
}

/// The ticket of another process, which waits for each call once.
pub(crate) fn ticket_of(process: usize) -> Ticket {
    Ticket::MAX - process as Ticket
}

/// Receives a reply, on a thread of the endpoint, and how it was come by.
pub type ReplyTo = Arc<dyn Fn(Ticket, Result<Reply, String>, Via) + Send + Sync>;

/// How a reply was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// The model was called for whoever gets it.
    Call,
    /// The model was called for somebody else who wanted the same.
    SameCall,
    /// It was in the memo.
    Memo,
}

/// A call that a stage wants to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// What it is.
    pub identity: Identity,
    /// What is asked.
    pub request: Request,
    /// Name of the stage.
    pub stage: Arc<str>,
    /// Id of the record that it is for.
    pub record: Arc<str>,
    /// The source row that it is for.
    pub root: u64,
    /// The lap of the turn loop that it is for.
    pub lap: u32,
    /// Since when that record waits.
    pub since: SystemTime,
}

/// A model with its queue. Identical requests in flight cost one call.
pub struct Endpoint {
    name: String,
    pipeline: String,
    model: Arc<dyn Model>,
    identity: String,
    memo: Arc<Memo>,
    limits: Limits,
    retries: u32,
    queue: Mutex<Queue>,
    /// Wakes a lane: there is a call, or one is due again.
    wake: Condvar,
    /// Wakes the keeper: a lane is done with calls, or the endpoint is closed.
    done: Condvar,
    /// A lane has ended its call, or the keeper has kept what it had.
    ended: Condvar,
    putting: Mutex<()>,
    /// By stage.
    usage: Mutex<ByStage>,
    /// Present where other processes make a part of the calls.
    owners: Option<Owners>,
    /// Is told of calls.
    tracer: Option<Arc<dyn Tracer>>,
    fail: OnFailure,
}

/// Which process makes a call, and keeps its reply: the same one whoever asks.
#[derive(Clone)]
pub(crate) struct Owners {
    pub(crate) index: usize,
    pub(crate) count: usize,
    pub(crate) outbox: Outbox,
}

impl Owners {
    /// The other process that makes a call; none where this one does.
    fn other(&self, key: &Key) -> Option<usize> {
        let owner = owner(key, self.count);
        (owner != self.index).then_some(owner)
    }
}

/// The process, of so many, that makes a call.
pub(crate) fn owner(key: &Key, count: usize) -> usize {
    let number = key[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    (number % count as u64) as usize
}

/// Where a reply comes from, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The memo has it, of this call.
    Known(Origin),
    /// The call was not made before. What differs from the one most like it that was made in its place, and when that was (Unix
    /// time in seconds).
    New(Option<(Vec<&'static str>, u64)>),
}

/// A model as a pipeline names it.
pub(crate) struct Named<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) name: &'a str,
    pub(crate) model: Arc<dyn Model>,
    /// Is told of its calls.
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
}

impl Endpoint {
    /// Opens the queue of a model. A memo that cannot keep a reply ends the run through `fail`.
    pub(crate) fn start(
        named: Named<'_>,
        memo: Arc<Memo>,
        limits: Limits,
        owners: Option<Owners>,
        fail: OnFailure,
    ) -> Arc<Self> {
        let Named { pipeline, name, model, tracer } = named;
        let endpoint = Arc::new(Endpoint {
            name: name.to_string(),
            pipeline: pipeline.to_string(),
            identity: model.identity(),
            retries: limits.retries.unwrap_or_else(|| model.retries()),
            model,
            memo,
            queue: Mutex::new(Queue::behind(gate::Gate::of(limits.clone(), Instant::now()))),
            limits,
            wake: Condvar::new(),
            done: Condvar::new(),
            ended: Condvar::new(),
            putting: Mutex::default(),
            usage: Mutex::default(),
            owners,
            tracer,
            fail,
        });
        lanes::start(&endpoint);
        keeper::start(&endpoint);
        endpoint
    }

    /// The identity of a request to the model by a stage of the given build.
    pub fn identify(&self, build: &str, request: &Request) -> Identity {
        Identity::of(build, &self.identity, request)
    }

    /// The memo's reply to a stage's call, if it was made before; another process's memo is not looked into.
    ///
    /// # Errors
    /// The memo cannot be read.
    pub fn recall(&self, key: &Key, stage: &Arc<str>) -> Result<Option<Reply>, String> {
        if !self.keeps(key) {
            return Ok(None);
        }
        let reply = self.memo.get(key)?;
        if let Some(reply) = &reply {
            self.usage_mut().entry(Arc::clone(stage)).or_default().count_known(reply);
        }
        Ok(reply)
    }

    /// Whether this process keeps the reply to a call: no other one makes it.
    pub(crate) fn keeps(&self, key: &Key) -> bool {
        self.owner(key).is_none()
    }

    /// Whether the memo has a call, or how it differs from what was asked in its place.
    ///
    /// # Errors
    /// The memo cannot be read.
    pub fn explain(&self, identity: &Identity, place: CallPlace) -> Result<Explanation, String> {
        if let Some(entry) = self.memo.entry(&identity.key)? {
            return Ok(Explanation::Known(entry.origin));
        }
        let before = self.memo.made(place)?.into_iter();
        let before = before.map(|made| (identity.differences(&made.parts), made.made));
        Ok(Explanation::New(before.min_by_key(|(differ, _)| differ.len())))
    }

    /// What the model has been asked so far, by stage.
    pub fn usage(&self) -> ByStage {
        self.usage_mut().clone()
    }

    fn owner(&self, key: &Key) -> Option<usize> {
        self.owners.as_ref()?.other(key)
    }

    /// What is said of a call to the process that makes it goes out while the queue is held: a call must not overtake the
    /// withdrawal of the same one.
    fn send(&self, _queue: &MutexGuard<'_, Queue>, to: usize, mail: Mail) {
        if let Some(owners) = &self.owners {
            owners.outbox.send(to, mail);
        }
    }

    /// Queues a call, here or where it is made; the reply reaches `to` with the ticket.
    pub fn submit(&self, call: Call, ticket: Ticket, to: ReplyTo) {
        let mut queue = self.queue();
        if queue.join(&call.identity.key, ticket, &to) {
            return;
        }
        if let Some(owner) = self.owner(&call.identity.key) {
            queue.wait_elsewhere(&call, ticket, to);
            return self.send(&queue, owner, Mail::Call(Box::new(call)));
        }
        // The call may have ended since the caller looked; replies are kept before their waiters are forgotten.
        if let Ok(Some(reply)) = self.recall(&call.identity.key, &call.stage) {
            drop(queue);
            return to(ticket, Ok(reply), Via::Memo);
        }
        queue.push(call, ticket, to);
        self.wake.notify_one();
    }

    /// Withdraws a ticket: its call, wanted by nobody else, is not made if it has not begun.
    pub fn withdraw(&self, key: &Key, ticket: Ticket) {
        let mut queue = self.queue();
        if let (true, Some(owner)) = (queue.withdraw(key, ticket), self.owner(key)) {
            self.send(&queue, owner, Mail::Withdraw(*key, self.name.clone()));
        }
    }

    /// Begins no call until it is told to go on; those that have begun are finished.
    pub(crate) fn hold(&self, held: bool) {
        self.queue().gate.hold(held);
        self.wake.notify_all();
    }

    /// Calls that wait, and calls that are with the model.
    pub fn waiting(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.len(), queue.in_flight())
    }

    /// Another process answers a call.
    pub(crate) fn answered(&self, key: &Key, reply: &Result<Reply, String>, via: Via) {
        let waiters = self.queue().take_waiters(key);
        hand_over(waiters, reply, via);
    }

    /// Ends the lanes, and waits until their present calls are done and kept: what is paid for is not lost.
    pub fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        self.wake.notify_all();
        self.done.notify_all();
        while queue.runs() {
            queue = self.ended.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands answers over, once they are kept.
    fn settle(&self, mut done: Vec<Done>) {
        if self.keep(&mut done) {
            let settled = done.into_iter().flat_map(|done| done.calls.into_iter().zip(done.replies));
            settled.for_each(|(queued, reply)| self.conclude(queued, reply));
        }
    }

    /// Keeps what calls were answered; where that fails the run says why.
    fn keep(&self, done: &mut [Done]) -> bool {
        let kept = self.put(done);
        kept.map_err(|cause| self.end(format!("the memo could not keep a reply: {cause}"))).is_ok()
    }

    /// A reply that is not on disk is not used, or a restart would pay it again and might get another. A call that was given up and
    /// made again may have been answered meanwhile: the first answer stands.
    fn put(&self, done: &mut [Done]) -> Result<(), String> {
        // A late lane may put beside the keeper: which answer was the first must be clear.
        let _one = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut paid, mut first) = (Vec::new(), HashMap::new());
        for Done { calls, replies } in done {
            for (queued, reply) in calls.iter().zip(replies) {
                let (key, Ok(answer)) = (queued.call.identity.key, reply) else { continue };
                match self.answered_before(&key, &first)? {
                    Some(before) => *answer = before,
                    None => paid.push(self.paid(&queued.call, answer)),
                }
                first.entry(key).or_insert_with(|| answer.clone());
            }
        }
        if paid.is_empty() { Ok(()) } else { self.memo.put(&paid) }
    }

    /// The answer to a call that was made twice, where that can be.
    fn answered_before(&self, key: &Key, first: &HashMap<Key, Reply>) -> Result<Option<Reply>, String> {
        match (self.limits.timeout_s, first.get(key)) {
            (None, _) => Ok(None),
            (Some(_), Some(reply)) => Ok(Some(reply.clone())),
            (Some(_), None) => self.memo.get(key),
        }
    }

    /// Hands an answer over, or has a call that failed made again.
    fn conclude(&self, queued: Queued, reply: Answer) {
        let (key, attempts) = (queued.call.identity.key, queued.attempts);
        let failed = match reply {
            Ok(reply) => {
                // Whoever is told may ask again: the queue must be free by then.
                let waiters = self.queue().answer(&key);
                return hand_over(waiters, &Ok(reply), Via::Call);
            }
            Err(Failure { cause, then: Then::End, .. }) => return self.end(cause),
            Err(failed) => failed,
        };
        let mut queue = self.queue();
        if let Then::Wait(pause) = failed.then {
            self.shut(&mut queue, &queued, pause, &failed.cause);
        }
        if failed.then != Then::Leave && attempts <= self.retries {
            queue.push_later(queued);
            drop(queue);
            return self.wake.notify_one();
        }
        let tried = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
        let (cause, down) = (failed.cause + &tried, queue.is_down(&queued, failed.then));
        let waiters = if down { Vec::new() } else { queue.take_waiters(&key) };
        drop(queue);
        if down { self.end(cause) } else { hand_over(waiters, &Err(cause), Via::Call) }
    }

    /// Lets no call begin for as long as the model says, or as this one would wait.
    fn shut(&self, queue: &mut Queue, queued: &Queued, pause: Option<Duration>, cause: &str) {
        let pause = pause.unwrap_or_else(|| queue::pause(queued));
        queue.gate.shut(Instant::now(), pause);
        if pause >= WORTH_SAYING {
            let (stage, record, seconds) = (&*queued.call.stage, &*queued.call.record, pause.as_secs());
            tracing::warn!(model = self.name, stage, record, seconds, "waits before it is asked again: {cause}");
        }
    }

    /// Ends the run.
    fn end(&self, cause: String) {
        (self.fail)(&format!("model {}", self.name), cause);
    }

    fn paid(&self, call: &Call, reply: &Reply) -> Paid {
        let (pipeline, stage, model) = (self.pipeline.clone(), call.stage.to_string(), self.name.clone());
        Paid {
            identity: call.identity,
            place: CallPlace::new(&call.stage, call.root, call.lap),
            entry: Entry { reply: reply.clone(), origin: Origin { pipeline, stage, model, made: now() } },
        }
    }

    fn usage_mut(&self) -> MutexGuard<'_, ByStage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first who waits is the one for whom the call was made.
fn hand_over(waiters: Vec<(Ticket, ReplyTo)>, reply: &Result<Reply, String>, via: Via) {
    for (nth, (ticket, to)) in waiters.into_iter().enumerate() {
        let via = if nth > 0 && via == Via::Call { Via::SameCall } else { via };
        to(ticket, reply.clone(), via);
    }
}
