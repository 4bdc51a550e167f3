//! The threads that call a model. One that does not come back in time is given up, and another takes its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use obvert_api::Request;
use obvert_api::abi::reason_of;

use super::keeper::Done;
use super::queue::{Queued, Running};
use super::{Answer, Call, Endpoint};
use crate::model::{Failure, Model, used};
use crate::tracer::{Called, Took, Whose};

/// What calls are called in logs.
const CALL: &str = "call";

/// Starts an endpoint's lanes: never more than `max_in_flight` requests are with the model.
pub(super) fn start(endpoint: &Arc<Endpoint>) {
    let most = endpoint.limits.max_in_flight.max(1);
    let lanes = endpoint.model.lanes().clamp(1, most);
    let batch = endpoint.model.batch().clamp(1, most);
    (0..lanes).for_each(|_| start_lane(endpoint, batch));
    if let Some(timeout) = endpoint.limits.timeout() {
        let endpoint = Arc::clone(endpoint);
        std::thread::spawn(move || watch(&endpoint, timeout, batch));
    }
}

fn start_lane(endpoint: &Arc<Endpoint>, batch: usize) {
    let endpoint = Arc::clone(endpoint);
    std::thread::spawn(move || while lane(&endpoint, batch) {});
}

/// Makes the next calls; whether the lane goes on.
fn lane(endpoint: &Endpoint, batch: usize) -> bool {
    let Some((lane, calls)) = next(endpoint, batch) else { return false };
    let (begin, begun) = (Instant::now(), SystemTime::now());
    let requests: Vec<Request> = calls.iter().map(|queued| queued.call.request.clone()).collect();
    let replies = guarded(&*endpoint.model, &requests, endpoint.limits.timeout());
    if endpoint.queue().lanes.contains_key(&lane) {
        count(endpoint, &calls, &replies, begin.elapsed());
    } else {
        count_late(endpoint, &calls, &replies);
    }
    tell(endpoint, Took::since(begun), &calls, &replies);
    let mut done = Done { calls, replies };
    let mut queue = endpoint.queue();
    if queue.lanes.remove(&lane).is_none() {
        // It was given up, and nobody waits any more, nor perhaps the keeper; what was paid for is kept even so.
        drop(queue);
        endpoint.keep(std::slice::from_mut(&mut done));
        return false;
    }
    queue.done.push(done);
    endpoint.done.notify_one();
    true
}

/// Waits for calls; none once the endpoint is closed.
fn next(endpoint: &Endpoint, batch: usize) -> Option<(u64, Vec<Queued>)> {
    let mut queue = endpoint.queue();
    loop {
        if queue.closed {
            return None;
        }
        let room = endpoint.limits.max_in_flight.max(1).saturating_sub(queue.in_flight());
        let popped = queue.pop(batch, room, |first, next| endpoint.model.joins(first, next));
        let fits = popped.is_some();
        if let Some(calls) = popped.filter(|calls| !calls.is_empty()) {
            queue.begun += 1;
            let lane = queue.begun;
            queue.lanes.insert(lane, Running { since: Instant::now(), calls: calls.clone() });
            // One lane is woken for what is due, and wakes the next one.
            if queue.has_more() && queue.in_flight() < endpoint.limits.max_in_flight {
                endpoint.wake.notify_one();
            }
            return Some((lane, calls));
        }
        if let Some(cause) = queue.used_up() {
            queue.closed = true;
            endpoint.end(cause);
            return None;
        }
        // Whoever makes room wakes a lane, which wakes the next one where it leaves some.
        let due = if fits { queue.next_due() } else { None };
        let pause = due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(Instant::now()));
        queue = endpoint.wake.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Tells of calls, and says so in the log.
fn tell(endpoint: &Endpoint, took: Took, calls: &[Queued], replies: &[Answer]) {
    for (Queued { call, attempts, .. }, answer) in calls.iter().zip(replies) {
        let Call { request, stage, record, root, lap, since, .. } = call;
        let ([prompt, reply], error) = (used(answer), answer.as_ref().err().map(|failure| &failure.cause));
        let (model, sample, stage, record) = (&endpoint.name, request.sample, &**stage, &**record);
        tracing::debug!(target: CALL, stage, record, model, sample, attempt = attempts, prompt, reply, error);
        if let Some(tracer) = &endpoint.tracer {
            let whose = Whose { stage, record, root: *root, lap: *lap, since: *since };
            tracer.call(&Called { whose, model, sample, attempt: *attempts, took, answer: answer.as_ref() });
        }
    }
}

/// Notes what calls have taken; the time of a batch is that of all its calls.
fn count(endpoint: &Endpoint, calls: &[Queued], replies: &[Answer], time: Duration) {
    let time = time / calls.len().max(1) as u32;
    let mut usage = endpoint.usage_mut();
    for (queued, reply) in calls.iter().zip(replies) {
        usage.entry(Arc::clone(&queued.call.stage)).or_default().count(reply, time, &endpoint.limits);
    }
    drop(usage);
    let mut queue = endpoint.queue();
    calls.iter().zip(replies).for_each(|(queued, reply)| queue.gate.end(&queued.call.request, reply));
}

/// Notes what calls have taken that were given up, and counted, before they ended.
fn count_late(endpoint: &Endpoint, calls: &[Queued], replies: &[Answer]) {
    let mut usage = endpoint.usage_mut();
    for (queued, reply) in calls.iter().zip(replies) {
        usage.entry(Arc::clone(&queued.call.stage)).or_default().count_tokens(reply, &endpoint.limits);
    }
    drop(usage);
    let mut queue = endpoint.queue();
    replies.iter().for_each(|reply| queue.gate.take(reply));
}

/// A model's answers, one per request whatever the model does.
fn guarded(model: &dyn Model, requests: &[Request], within: Option<Duration>) -> Vec<Answer> {
    let called = catch_unwind(AssertUnwindSafe(|| model.call(requests, within)));
    let mut replies = match called {
        Ok(replies) => replies,
        Err(panic) => vec![Err(Failure::from(reason_of(panic.as_ref()).0)); requests.len()],
    };
    replies.resize_with(requests.len(), || Err(Failure::from("the model gave no reply".to_string())));
    replies
}

/// Gives up lanes that take too long: their calls have failed.
fn watch(endpoint: &Arc<Endpoint>, timeout: Duration, batch: usize) {
    loop {
        std::thread::sleep((timeout / 8).clamp(Duration::from_millis(5), Duration::from_secs(1)));
        let mut queue = endpoint.queue();
        if queue.closed && !queue.runs() {
            return;
        }
        let late: Vec<_> = queue.lanes.extract_if(|_, running| running.since.elapsed() > timeout).collect();
        drop(queue);
        for (_, running) in late {
            start_lane(endpoint, batch);
            let late = Err(Failure::from(format!("no reply within {} s", timeout.as_secs_f64())));
            count(endpoint, &running.calls, &vec![late.clone(); running.calls.len()], timeout);
            running.calls.into_iter().for_each(|queued| endpoint.conclude(queued, late.clone()));
        }
        endpoint.ended.notify_all();
        endpoint.done.notify_one();
    }
}
