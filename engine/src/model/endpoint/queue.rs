//! Calls that wait for a lane, and those who wait for calls.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use obvert_api::Request;

use super::gate::Gate;
use super::keeper::Done;
use super::{Call, ReplyTo, Ticket};
use crate::memo::Key;
use crate::model::Then;

/// Later laps first (a finished dialogue makes room for the next), then by root, then as they come.
type Priority = (Reverse<u32>, u64, u64);

/// Before the first repetition of a call that failed; doubled for each further one, up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Calls that are looked at for each that a batch takes: those between may join no other.
const LOOK: usize = 16;

/// A call, and how often it was begun.
#[derive(Clone)]
pub(super) struct Queued {
    pub(super) call: Call,
    pub(super) attempts: u32,
    /// When it was begun first.
    pub(super) begun: Option<Instant>,
}

/// Calls with a lane, since when.
pub(super) struct Running {
    pub(super) since: Instant,
    pub(super) calls: Vec<Queued>,
}

/// How long a call that failed waits before it is made again: longer each time, and not as long as others that failed with it.
pub(super) fn pause(queued: &Queued) -> Duration {
    let longest = PAUSE.saturating_mul(1 << queued.attempts.saturating_sub(1).min(16)).min(LONGEST);
    longest.mul_f64(1.0 - f64::from(queued.call.identity.key[0]) / 512.0)
}

pub(super) struct Queue {
    queue: BTreeMap<Priority, Queued>,
    /// Failed calls, and when they are to be made again.
    later: BTreeMap<(Instant, Priority), Queued>,
    waiting: HashMap<Key, Waiting>,
    pub(super) gate: Gate,
    submitted: u64,
    /// What each lane is at.
    pub(super) lanes: HashMap<u64, Running>,
    pub(super) begun: u64,
    /// When the model answered last.
    pub(super) answered: Option<Instant>,
    /// What lanes are done with, and the keeper has not taken.
    pub(super) done: Vec<Done>,
    /// How many calls the keeper is at.
    pub(super) keeping: usize,
    pub(super) closed: bool,
}

/// Who waits for a call, and where it stands in the queue.
struct Waiting {
    priority: Priority,
    waiters: Vec<(Ticket, ReplyTo)>,
    /// Another process makes it.
    elsewhere: bool,
}

impl Queue {
    pub(super) fn behind(gate: Gate) -> Self {
        Queue {
            queue: BTreeMap::new(),
            later: BTreeMap::new(),
            waiting: HashMap::new(),
            gate,
            submitted: 0,
            lanes: HashMap::new(),
            begun: 0,
            answered: None,
            done: Vec::new(),
            keeping: 0,
            closed: false,
        }
    }

    /// Whether the call is under way already, and one more waits for it now.
    pub(super) fn join(&mut self, key: &Key, ticket: Ticket, to: &ReplyTo) -> bool {
        let waiting = self.waiting.get_mut(key);
        waiting.map(|waiting| waiting.waiters.push((ticket, to.clone()))).is_some()
    }

    pub(super) fn push(&mut self, call: Call, ticket: Ticket, to: ReplyTo) {
        let priority = self.wait(&call, ticket, to);
        self.queue.insert(priority, Queued { call, attempts: 0, begun: None });
    }

    /// Notes who waits for a call that another process makes.
    pub(super) fn wait_elsewhere(&mut self, call: &Call, ticket: Ticket, to: ReplyTo) {
        self.wait(call, ticket, to);
        self.waiting.entry(call.identity.key).and_modify(|waiting| waiting.elsewhere = true);
    }

    fn wait(&mut self, call: &Call, ticket: Ticket, to: ReplyTo) -> Priority {
        self.submitted += 1;
        let priority = (Reverse(call.lap), call.root, self.submitted);
        let waiting = Waiting { priority, waiters: vec![(ticket, to)], elsewhere: false };
        self.waiting.insert(call.identity.key, waiting);
        priority
    }

    /// Has a call that failed made again after a pause, if anybody still waits for it.
    pub(super) fn push_later(&mut self, queued: Queued) {
        let key = queued.call.identity.key;
        match self.waiting.get(&key) {
            Some(waiting) if !waiting.waiters.is_empty() => {
                self.later.insert((Instant::now() + pause(&queued), waiting.priority), queued);
            }
            _ => drop(self.waiting.remove(&key)),
        }
    }

    /// Forgets a ticket; whether nobody waits for its call any more. One that has begun goes on, and its reply is kept.
    pub(super) fn withdraw(&mut self, key: &Key, ticket: Ticket) -> bool {
        let Some(waiting) = self.waiting.get_mut(key) else {
            return false;
        };
        waiting.waiters.retain(|(other, _)| *other != ticket);
        let (unwanted, priority, elsewhere) = (waiting.waiters.is_empty(), waiting.priority, waiting.elsewhere);
        if unwanted && (elsewhere || self.take(priority)) {
            self.waiting.remove(key);
        }
        unwanted
    }

    /// Takes a call that has not begun, or is to be made again, from where it stands; false if it is being made.
    fn take(&mut self, priority: Priority) -> bool {
        let later = || self.later.keys().find(|(_, other)| *other == priority).copied();
        match self.queue.remove(&priority) {
            Some(_) => true,
            None => later().is_some_and(|later| self.later.remove(&later).is_some()),
        }
    }

    pub(super) fn take_waiters(&mut self, key: &Key) -> Vec<(Ticket, ReplyTo)> {
        self.waiting.remove(key).map(|waiting| waiting.waiters).unwrap_or_default()
    }

    /// Those who wait for a call that the model has answered.
    pub(super) fn answer(&mut self, key: &Key) -> Vec<(Ticket, ReplyTo)> {
        self.answered = Some(Instant::now());
        self.take_waiters(key)
    }

    /// The calls that may begin now, up to `most`: the first in order, and those behind it that join it; their attempts are counted. None
    /// where there is no room for all of them: what they share would be worked out, or paid, twice.
    pub(super) fn pop(
        &mut self,
        most: usize,
        room: usize,
        joins: impl Fn(&Request, &Request) -> bool,
    ) -> Option<Vec<Queued>> {
        let (now, mut begun) = (Instant::now(), Vec::new());
        while let Some(later) = self.later.first_entry().filter(|later| later.key().0 <= now) {
            let ((_, priority), queued) = later.remove_entry();
            self.queue.insert(priority, queued);
        }
        let batch = self.batch(most, joins);
        if batch.len() > room {
            return None;
        }
        for priority in batch {
            if self.gate.used_up().is_some() || self.gate.due(now).is_some() {
                break;
            }
            begun.extend(self.queue.remove(&priority).map(|queued| self.begin(queued)));
        }
        Some(begun)
    }

    /// The first call, and those behind it that join it.
    fn batch(&self, most: usize, joins: impl Fn(&Request, &Request) -> bool) -> Vec<Priority> {
        let Some((first, of)) = self.queue.first_key_value() else { return Vec::new() };
        let near = self.queue.iter().take(most.saturating_mul(LOOK));
        let joining = near.filter(|(at, queued)| *at == first || joins(&of.call.request, &queued.call.request));
        joining.map(|(at, _)| *at).take(most).collect()
    }

    fn begin(&mut self, mut queued: Queued) -> Queued {
        queued.attempts += 1;
        queued.begun.get_or_insert_with(Instant::now);
        self.gate.begin(&queued.call.request);
        queued
    }

    /// Calls that wait for a lane, for the gate, or for their time.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.later.len()
    }

    /// Requests that are with the model, or whose replies are not on disk yet: what a killed run has to pay again.
    pub(super) fn in_flight(&self) -> usize {
        let running = self.lanes.values().map(|running| running.calls.len());
        running.chain(self.done.iter().map(|done| done.calls.len())).sum::<usize>() + self.keeping
    }

    /// Why no call may begin any more, where there are any.
    pub(super) fn used_up(&self) -> Option<String> {
        self.gate.used_up().filter(|_| !self.queue.is_empty())
    }

    /// Whether calls wait for a lane, for the gate, or for their time.
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty() || !self.later.is_empty()
    }

    /// When there may be something to begin.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        // The gate may have opened since calls were looked for: then it is at once.
        let gate = (!self.queue.is_empty()).then(|| self.gate.due(now).unwrap_or(now));
        self.later.first_key_value().map(|((due, _), _)| *due).into_iter().chain(gate).min()
    }

    /// Whether a call that failed as often as it may says of the model that it is not there: no other one was answered either while it
    /// was tried.
    pub(super) fn is_down(&self, queued: &Queued, then: Then) -> bool {
        let since = |answered: Instant| queued.begun.is_some_and(|begun| answered >= begun);
        then == Then::Unreached && !self.answered.is_some_and(since)
    }

    /// Whether any lane is at a call, or what it was answered is not kept yet.
    pub(super) fn runs(&self) -> bool {
        self.keeping > 0 || !self.lanes.is_empty() || !self.done.is_empty()
    }
}
