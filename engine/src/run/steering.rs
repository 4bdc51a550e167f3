//! How a run is steered from outside while it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Shared;
use super::post::Mail;

/// Flags to be set from any thread; clones share them.
#[derive(Clone, Default)]
pub struct Steering {
    /// Ends the run as it stands; what was paid is kept.
    pub interrupt: Arc<AtomicBool>,
    /// Ends a run that goes on as soon as it is quiet: what it has made by then is whole.
    pub renew: Arc<AtomicBool>,
    /// As long as it is set no row and no dialogue is let in, and no call begins. What has begun is finished.
    pub pause: Arc<AtomicBool>,
    /// Ends the run as if its sources ended where they are. Dialogues that wait to be let in are left to a later run, too.
    pub drain: Arc<AtomicBool>,
}

impl Shared {
    /// Does what it was told since the last look; on the first worker.
    pub(super) fn steer(&self) {
        let pause = self.steering.pause.load(Relaxed);
        if self.paused.swap(pause, Relaxed) != pause {
            self.hold(pause);
            self.settlement.hold(pause);
            if let Some(company) = &self.company {
                company.tell_others(|| Mail::Held(pause));
            }
        }
        if self.steering.drain.load(Relaxed) && !self.stop.ending.is_draining() {
            self.stop.ending.drain();
            self.settlement.wake();
        }
    }

    /// Has the models of this process begin no call, or go on.
    pub(super) fn hold(&self, held: bool) {
        self.endpoints.0.values().for_each(|endpoint| endpoint.hold(held));
    }
}
