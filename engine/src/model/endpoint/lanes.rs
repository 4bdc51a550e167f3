//! The threads that call a model. One that does not come back in time is given up, and another takes its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use obvert_api::abi::reason_of;
use obvert_api::{Reply, Request};

use super::Endpoint;
use super::queue::{Queued, Running};
use crate::model::Model;

/// Starts an endpoint's lanes: never more than `max_in_flight` requests are with the model.
pub(super) fn start(endpoint: &Arc<Endpoint>) {
    let most = endpoint.limits.max_in_flight.max(1);
    let lanes = endpoint.model.lanes().clamp(1, most);
    let batch = endpoint.model.batch().clamp(1, (most / lanes).max(1));
    (0..lanes).for_each(|_| start_lane(endpoint, batch));
    if let Some(timeout) = endpoint.limits.timeout {
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
    let begin = Instant::now();
    let requests: Vec<Request> = calls.iter().map(|queued| queued.call.request.clone()).collect();
    let replies = guarded(&*endpoint.model, &requests);
    count(endpoint, &replies, begin.elapsed());
    if !endpoint.queue().lanes.contains_key(&lane) {
        // It was given up, and nobody waits any more; what was paid for is kept even so, and if that fails the run says why.
        drop(endpoint.keep(&calls, replies));
        return false;
    }
    endpoint.settle(calls, replies);
    endpoint.queue().lanes.remove(&lane);
    endpoint.wake.notify_all();
    true
}

/// Waits for calls; none once the endpoint is closed.
fn next(endpoint: &Endpoint, batch: usize) -> Option<(u64, Vec<Queued>)> {
    let mut queue = endpoint.queue();
    loop {
        if queue.closed {
            return None;
        }
        let calls = queue.pop(batch);
        if !calls.is_empty() {
            queue.begun += 1;
            let lane = queue.begun;
            queue.lanes.insert(lane, Running { since: Instant::now(), calls: calls.clone() });
            return Some((lane, calls));
        }
        let pause =
            queue.next_due().map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(Instant::now()));
        queue = endpoint.wake.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn count(endpoint: &Endpoint, replies: &[Result<Reply, String>], time: Duration) {
    let mut usage = endpoint.usage_mut();
    usage.time += time;
    for reply in replies {
        match reply {
            Ok(reply) => {
                usage.calls += 1;
                usage.prompt_tokens += u64::from(reply.prompt_tokens);
                usage.reply_tokens += u64::from(reply.reply_tokens);
            }
            Err(_) => usage.failures += 1,
        }
    }
}

/// A model's answers, one per request whatever the model does.
fn guarded(model: &dyn Model, requests: &[Request]) -> Vec<Result<Reply, String>> {
    let called = catch_unwind(AssertUnwindSafe(|| model.call(requests)));
    let mut replies = match called {
        Ok(replies) => replies,
        Err(panic) => vec![Err(reason_of(panic.as_ref()).0); requests.len()],
    };
    replies.resize_with(requests.len(), || Err("the model gave no reply".to_string()));
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
            endpoint.usage_mut().failures += running.calls.len() as u64;
            let reason = format!("no reply within {} s", timeout.as_secs_f64());
            running.calls.into_iter().for_each(|queued| endpoint.conclude(queued, Err(reason.clone())));
        }
        endpoint.wake.notify_all();
    }
}
