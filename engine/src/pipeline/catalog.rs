//! What a pipeline may use.

use serde_json::Value;

/// The stage types and model kinds that a pipeline may name; implemented by the program's registry.
pub trait Catalog {
    /// The stage type called `kind`, if there is one.
    fn stage(&self, kind: &str) -> Option<StageKind<'_>>;
    /// The names of all stage types, for hints.
    fn stage_kinds(&self) -> Vec<String>;
    /// The JSON schema of the settings of the model kind called `kind`, if there is one.
    fn model(&self, kind: &str) -> Option<&Value>;
    /// The names of all model kinds, for hints.
    fn model_kinds(&self) -> Vec<String>;
}

/// What the check must know of a stage type.
#[derive(Clone, Copy, Debug)]
pub struct StageKind<'a> {
    /// The record type that the stage takes; `None` for a source, `"*"` for any type.
    pub input: Option<&'a str>,
    /// The record type of the side input; `None` where there is no side input, `"*"` for any type.
    pub with: Option<&'a str>,
    /// The record type that the stage puts out; `None` for a sink.
    pub output: Option<&'a str>,
    /// Whether a cycle may pass through the stage.
    pub closes_loop: bool,
    /// Whether its side input is a view downstream of it, whose versions come back to it.
    pub in_step: bool,
    /// The JSON schema of the stage's settings.
    pub schema: &'a Value,
}
