//! How a run ends: quiet, with nothing left to do, or cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Shared by all operators of a run and by those who drive it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    draining: AtomicBool,
    closing: AtomicBool,
    quiet: AtomicBool,
    lost: AtomicBool,
}

impl Ending {
    /// What has been let in is the last: whatever waits before a gate is left for another run.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Relaxed)
    }

    /// Nothing is at work any more: what views hold is whole.
    pub(crate) fn quiet(&self) {
        self.0.quiet.store(true, Relaxed);
        self.cut();
    }

    /// Ends the run as it stands.
    pub(crate) fn cut(&self) {
        self.0.closing.store(true, Relaxed);
    }

    /// A worker is gone: the others must not wait for it.
    pub(crate) fn lose(&self) {
        self.0.lost.store(true, Relaxed);
        self.cut();
    }

    /// Whether operators should let go of their capabilities.
    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.load(Relaxed)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.0.quiet.load(Relaxed)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.0.lost.load(Relaxed)
    }
}
