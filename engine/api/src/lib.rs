//! All that a plugin writer depends on: records, stages, and the C border between plugin and host.

mod effect;
mod json;
pub mod record;
mod settings;

pub use effect::{Reply, Request, Sampling};
pub use json::Json;
pub use record::{Nothing, Record};
pub use settings::{ModelName, PathSetting};

// Plugin crates derive with these; they come from here so that versions agree.
pub use schemars;
pub use serde;
pub use serde_json;
