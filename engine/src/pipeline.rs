//! The pipeline file: TOML text is parsed, then resolved against a [`Catalog`] into a checked [`Plan`].
//!
//! Each step reports every error it finds, with file, line and column, and a hint where a name is misspelt.
//! Nothing here runs anything, and nothing but the caller of [`parse_with`] reads a file.

mod catalog;
mod cycle;
mod document;
mod editor;
pub mod graph;
mod grid;
mod hint;
mod include;
mod place;
mod plan;
mod report;
mod resolve;
mod schema;
mod set;
#[cfg(test)]
mod tests;
mod tree;
mod wiring;

pub use catalog::{Catalog, StageKind};
pub use document::{Document, PluginEntry, parse, parse_with};
pub use editor::schema;
pub use plan::{Isolation, Location, ModelPlan, Plan, RunSettings, StagePlan, TestPlan};
pub use report::{Diagnostic, Report};
