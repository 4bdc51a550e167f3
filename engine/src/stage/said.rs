//! What stages say in the log: each line has the stage's name in the pipeline and the record's id.

use std::cell::RefCell;
use std::sync::Arc;

use crate::dataflow::record_id;

/// What lines of stages are called in logs.
const STAGE: &str = "stage";

thread_local! {
    /// The stage that runs on this thread, as the pipeline names it.
    static RUNS: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Runs a stage that goes by this name, where it has one; what ran before goes on by its own, even if it panics.
pub(crate) fn in_stage<T>(name: Option<&Arc<str>>, run: impl FnOnce() -> T) -> T {
    let _before = Before(RUNS.replace(name.cloned()));
    run()
}

/// What ran before.
struct Before(Option<Arc<str>>);

impl Drop for Before {
    fn drop(&mut self) {
        RUNS.set(self.0.take());
    }
}

/// The name of the stage that runs on this thread.
pub(super) fn runs() -> Option<Arc<str>> {
    RUNS.with_borrow(Option::clone)
}

/// Logs a line of a stage, which goes by its kind where no pipeline names it, at a level from 1 (error) to 5 (trace).
pub(super) fn line(kind: &str, item: Option<&[u8]>, level: u32, message: &str) {
    let name = runs();
    let stage = name.as_deref().unwrap_or(kind);
    // What nobody wants to read costs no hash: fields are made where a line is.
    match level {
        1 => tracing::error!(target: STAGE, stage, record = item.map(record_id), "{message}"),
        2 => tracing::warn!(target: STAGE, stage, record = item.map(record_id), "{message}"),
        3 => tracing::info!(target: STAGE, stage, record = item.map(record_id), "{message}"),
        4 => tracing::debug!(target: STAGE, stage, record = item.map(record_id), "{message}"),
        _ => tracing::trace!(target: STAGE, stage, record = item.map(record_id), "{message}"),
    }
}
