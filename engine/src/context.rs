//! What built-in stages and models may know of the run they are part of.

use std::path::PathBuf;
use std::sync::Arc;

use crate::pipeline::Plan;

/// Shows a record as JSON.
pub type ToJson = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

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
    /// Where the stage puts its files: the run's folder, or one of its own where the plan has several of its type.
    pub fn folder(&self) -> PathBuf {
        let kind = self.plan.stages.iter().find(|stage| stage.name == self.stage).map(|stage| &stage.kind);
        let alike = self.plan.stages.iter().filter(|stage| Some(&stage.kind) == kind).count();
        if alike > 1 { self.out.join(&self.stage) } else { self.out.clone() }
    }
}

impl std::fmt::Debug for RunContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunContext").field("stage", &self.stage).field("out", &self.out).finish_non_exhaustive()
    }
}
