//! One model's queue: requests in, replies out through the memo.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use obvert_api::{Reply, Request};

use super::Model;
use crate::memo::{Key, Memo};

/// Later laps first (a finished dialogue makes room for the next), then by root, then as they come.
type Priority = (Reverse<u32>, u64, u64);

/// Says where a reply belongs: the number that `submit` was given.
pub type Ticket = u64;

/// Receives a reply, on a thread of the endpoint.
pub type ReplyTo = Arc<dyn Fn(Ticket, Result<Reply, String>) + Send + Sync>;

/// A model with its queue. Identical requests in flight cost one call.
pub struct Endpoint {
    model: Arc<dyn Model>,
    memo: Arc<Memo>,
    state: Mutex<State>,
    wake: Condvar,
    usage: Mutex<Usage>,
    lanes: Mutex<Vec<JoinHandle<()>>>,
}

/// What a model has been asked so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Calls that it answered.
    pub calls: u64,
    /// Replies taken from the memo.
    pub memo_hits: u64,
    /// Tokens read in calls.
    pub prompt_tokens: u64,
    /// Tokens written in calls.
    pub reply_tokens: u64,
    /// Time spent in calls, summed over concurrent ones.
    pub time: Duration,
}

/// What became of a submitted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// A new call was queued.
    Queued,
    /// The same call is under way already.
    Joined,
    /// The reply was in the memo by now, and has been handed over.
    Known,
}

#[derive(Default)]
struct State {
    queue: BTreeMap<Priority, (Key, Request)>,
    waiting: HashMap<Key, Waiting>,
    submitted: u64,
    closed: bool,
}

/// Who waits for a call, and where it stands in the queue.
struct Waiting {
    priority: Priority,
    waiters: Vec<(Ticket, ReplyTo)>,
}

impl Endpoint {
    /// Starts the lanes of a model; never more than `max_in_flight` requests are with it.
    pub fn start(model: Arc<dyn Model>, memo: Arc<Memo>, max_in_flight: usize) -> Arc<Self> {
        let endpoint = Arc::new(Endpoint {
            model,
            memo,
            state: Mutex::default(),
            wake: Condvar::new(),
            usage: Mutex::default(),
            lanes: Mutex::default(),
        });
        let lanes = endpoint.model.lanes().clamp(1, max_in_flight.max(1));
        let batch = endpoint.model.batch().clamp(1, (max_in_flight / lanes).max(1));
        let start = |_| {
            let endpoint = Arc::clone(&endpoint);
            std::thread::spawn(move || endpoint.lane(batch))
        };
        *endpoint.lanes.lock().unwrap_or_else(PoisonError::into_inner) = (0..lanes).map(start).collect();
        endpoint
    }

    /// The model behind the queue.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    /// The memo's reply to a call, if it was made before.
    pub fn recall(&self, key: &Key) -> Result<Option<Reply>, String> {
        let reply = self.memo.get(key)?;
        self.usage_mut().memo_hits += u64::from(reply.is_some());
        Ok(reply)
    }

    /// What the model has been asked so far.
    pub fn usage(&self) -> Usage {
        self.usage_mut().clone()
    }

    fn usage_mut(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call; the reply reaches `to` with the ticket.
    pub fn submit(&self, key: Key, request: Request, lap: u32, root: u64, ticket: Ticket, to: ReplyTo) -> Submitted {
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.get_mut(&key) {
            waiting.waiters.push((ticket, to));
            return Submitted::Joined;
        }
        // The call may have ended since the caller looked; replies are kept before their waiters are forgotten.
        if let Ok(Some(reply)) = self.recall(&key) {
            drop(state);
            to(ticket, Ok(reply));
            return Submitted::Known;
        }
        state.submitted += 1;
        let priority = (Reverse(lap), root, state.submitted);
        state.waiting.insert(key, Waiting { priority, waiters: vec![(ticket, to)] });
        state.queue.insert(priority, (key, request));
        self.wake.notify_one();
        Submitted::Queued
    }

    /// Withdraws a ticket. Returns whether the call, wanted by nobody else, had not begun and is not made.
    pub fn withdraw(&self, key: &Key, ticket: Ticket) -> bool {
        let mut state = self.lock();
        let Some(waiting) = state.waiting.get_mut(key) else {
            return false;
        };
        waiting.waiters.retain(|(other, _)| *other != ticket);
        let (unwanted, priority) = (waiting.waiters.is_empty(), waiting.priority);
        let withdrawn = unwanted && state.queue.remove(&priority).is_some();
        if withdrawn {
            state.waiting.remove(key);
        }
        withdrawn
    }

    /// Ends the lanes, and waits until their present calls are done and kept: what is paid for is not lost.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        // A lane contains the panics of its model.
        lanes.into_iter().for_each(|lane| drop(lane.join()));
    }

    fn lane(&self, batch: usize) {
        while let Some(calls) = self.next(batch) {
            let (keys, requests): (Vec<Key>, Vec<Request>) = calls.into_iter().unzip();
            let begin = Instant::now();
            let mut replies = guarded(&*self.model, &requests);
            self.count(&replies, begin.elapsed());
            let paid: Vec<_> =
                keys.iter().zip(&replies).filter_map(|(k, r)| Some((*k, r.as_ref().ok()?.clone()))).collect();
            // A reply that is not on disk is not used: a restart would pay it again and might get another.
            if let Err(cause) = self.memo.put(&paid) {
                replies.iter_mut().for_each(|r| *r = Err(format!("the memo could not keep the reply: {cause}")));
            }
            keys.iter().zip(replies).for_each(|(key, reply)| self.deliver(key, &reply));
        }
    }

    fn count(&self, replies: &[Result<Reply, String>], time: Duration) {
        let mut usage = self.usage_mut();
        usage.time += time;
        for reply in replies.iter().flatten() {
            usage.calls += 1;
            usage.prompt_tokens += u64::from(reply.prompt_tokens);
            usage.reply_tokens += u64::from(reply.reply_tokens);
        }
    }

    fn next(&self, batch: usize) -> Option<Vec<(Key, Request)>> {
        let mut state = self.lock();
        while state.queue.is_empty() && !state.closed {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let calls: Vec<_> = std::iter::from_fn(|| state.queue.pop_first().map(|(_, call)| call)).take(batch).collect();
        (!state.closed && !calls.is_empty()).then_some(calls)
    }

    fn deliver(&self, key: &Key, reply: &Result<Reply, String>) {
        let waiting = self.lock().waiting.remove(key);
        let waiters = waiting.into_iter().flat_map(|waiting| waiting.waiters);
        waiters.for_each(|(ticket, to)| to(ticket, reply.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model's answers, one per request whatever the model does.
fn guarded(model: &dyn Model, requests: &[Request]) -> Vec<Result<Reply, String>> {
    let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.call(requests)));
    let mut replies = match called {
        Ok(replies) => replies,
        Err(panic) => vec![Err(obvert_api::abi::reason_of(panic.as_ref()).0); requests.len()],
    };
    replies.resize_with(requests.len(), || Err("the model gave no reply".to_string()));
    replies
}
