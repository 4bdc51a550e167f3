//! All that a plugin writer depends on: records, stages, and the C border between plugin and host.
//!
//! A plugin is a library that exports stages: implement [`Map`] or [`Group`] on a settings struct and name it in
//! [`plugin!`]. A stage that needs a model does not call one: it requests ([`Output::request`]) and is run again with
//! the reply. So stages are pure functions, and the host can retry, memoize, count and retract. [`guide`] begins at the beginning.

pub mod abi;
pub mod chain;
mod decode;
mod effect;
pub mod erased;
pub mod example;
pub mod form;
pub mod frame;
pub mod guide;
mod json;
mod manifest;
pub mod prompt;
pub mod record;
mod settings;
mod stage;
pub mod testing;

pub use effect::{Reply, Request, Sampling};
pub use erased::{Example, Invocation, Manifest, Operation, Outcome, Port};
pub use json::Json;
pub use record::{Nothing, Record};
pub use settings::{ModelName, PathSetting, Secret};
pub use stage::{Error, Group, Level, MOST_ROUNDS, Map, Output};

// Plugin crates derive with these; they come from here so that versions agree.
pub use schemars;
pub use serde;
pub use serde_json;
