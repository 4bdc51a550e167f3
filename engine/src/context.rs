//! What built-in stages and models may know of the run they are part of.

use std::path::PathBuf;
use std::sync::Arc;

use crate::pipeline::Plan;

/// Shows a record as JSON.
pub type ToJson = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// Sees the records that a source or a stage makes, or that reach a sink, as they come and go; on any worker, and at the stage's cost.
pub trait Observer: Send + Sync {
    /// Whether anybody looks just now: as long as nobody does, stages that follow each other are run as one.
    fn looks(&self) -> bool;
    /// A record, so many copies of it more (> 0) or less (< 0).
    fn see(&self, record: &[u8], copies: isize);
}

/// A stage, as those see it who may want to look at its records.
pub struct Observed<'a> {
    /// Its name.
    pub stage: &'a str,
    /// The type of the records that it makes; none of a sink, which is looked at for what reaches it.
    pub record: &'a str,
    /// Shows them.
    pub to_json: ToJson,
}

/// Gives stages their observers.
pub type Observers = Arc<dyn Fn(Observed<'_>) -> Option<Arc<dyn Observer>> + Send + Sync>;

/// The surroundings of a stage while it is created.
#[derive(Clone)]
pub struct RunContext {
    /// Name of the stage.
    pub stage: String,
    /// Folder of the run's results.
    pub out: PathBuf,
    /// The whole plan.
    pub plan: Arc<Plan>,
    /// Shows the records that come in.
    pub to_json: ToJson,
}

impl RunContext {
    /// Where the stage puts its files.
    pub fn folder(&self) -> PathBuf {
        self.out.join(self.plan.folder(&self.stage))
    }
}

impl std::fmt::Debug for RunContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunContext").field("stage", &self.stage).field("out", &self.out).finish_non_exhaustive()
    }
}
