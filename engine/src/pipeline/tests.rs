//! Pipelines in; reports, plans and drawings out.

mod broken;
mod catalog;
mod drawings;
mod editor;
mod good;
mod grids;
mod includes;
mod mutants;

use std::path::Path;

use super::{Plan, Report, parse};
use catalog::TestCatalog;

/// A sound pipeline with a loop, side inputs, nested settings and two models.
const GOOD: &str = include_str!("tests/good.toml");

/// Parses and resolves a file `/pipelines/p.toml`.
fn check(text: &str, set: &[&str]) -> Result<Plan, Report> {
    let set: Vec<String> = set.iter().map(|argument| (*argument).to_owned()).collect();
    parse(Path::new("/pipelines/p.toml"), text, &set)?.resolve(&TestCatalog::default())
}
