//! The thread that keeps replies and hands them over. What has come in while the disk was at work is written together: one wait for
//! the disk serves many calls. Until then they are in flight: lanes wait only where the disk has as many as may be.

use std::sync::{Arc, PoisonError};

use super::queue::Queued;
use super::{Answer, Endpoint};

/// Calls that a lane is done with.
pub(super) struct Done {
    pub(super) calls: Vec<Queued>,
    pub(super) replies: Vec<Answer>,
}

pub(super) fn start(endpoint: &Arc<Endpoint>) {
    let endpoint = Arc::clone(endpoint);
    std::thread::spawn(move || {
        while let Some(done) = next(&endpoint) {
            endpoint.settle(done);
            endpoint.queue().keeping = 0;
            endpoint.wake.notify_one();
            endpoint.ended.notify_all();
        }
    });
}

/// All that lanes are done with; none once no lane works any more and the endpoint is closed.
fn next(endpoint: &Endpoint) -> Option<Vec<Done>> {
    let mut queue = endpoint.queue();
    while queue.done.is_empty() {
        if queue.closed && queue.lanes.is_empty() {
            return None;
        }
        queue = endpoint.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    let done = std::mem::take(&mut queue.done);
    queue.keeping = done.iter().map(|done| done.calls.len()).sum();
    Some(done)
}
