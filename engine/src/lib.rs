//! Turns a pipeline file into a checked plan and runs it as one incremental dataflow.
//!
//! The engine knows stages, records as bytes, models and time; it does not know what any record means.

pub mod cluster;
mod context;
mod count;
mod dataflow;
mod feed;
pub mod memo;
pub mod model;
pub mod pipeline;
pub mod registry;
mod run;
pub mod spool;
pub mod stage;
mod tracer;

pub use context::{Observed, Observer, Observers, RunContext, ToJson};
pub use count::{Counts, StageCount};
pub use dataflow::{Change, Poll, Settled, Version, View, Waker};
pub use registry::Registry;
pub use run::{
    Beside, Explained, Looked, ModelCount, Options, Outcome, Progress, Steering, Wanted, look, mentions, run,
    run_beside,
};
pub use tracer::{Became, Called, Took, Tracer, Waited, Whose};

/// Why a run could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file is wrong.
    #[error("{0}")]
    Pipeline(pipeline::Report),
    /// A plugin library cannot be used.
    #[error("plugin {path}: {cause}")]
    Plugin {
        /// The library.
        path: std::path::PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A model cannot be opened.
    #[error("model `{name}`: {cause}")]
    Model {
        /// Name of the `[model.NAME]` table.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The state folder is another run's.
    #[error("state {0}: another run is using this folder")]
    Taken(std::path::PathBuf),
    /// The state folder cannot be used.
    #[error("state {path}: {cause}")]
    State {
        /// The folder or file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A stage cannot go on.
    #[error("stage `{stage}`: {cause}")]
    Stage {
        /// Name of the stage.
        stage: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The other processes do not come, do other work, or one of them is lost.
    #[error("{0}")]
    Cluster(cluster::Error),
    /// The dataflow could not be started or a worker was lost.
    #[error("dataflow: {0}")]
    Dataflow(String),
}
