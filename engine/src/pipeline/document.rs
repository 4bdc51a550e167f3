//! Step 1: text to values with places.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::Report;
use super::place::{Place, Source};
use super::report::Problem;
use super::set;
use super::tree::{Node, Table, Value, read_table};

/// A pipeline file that is sound TOML, with the `--set` arguments applied.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) source: Arc<Source>,
    pub(super) root: Table,
}

/// Parses the text of the pipeline file `path` and applies `--set` arguments (`NAME.KEY=VALUE` for a stage, or a full
/// path such as `run.workers=2`).
///
/// # Errors
/// All syntax errors of the text; if there are none, all arguments that change nothing of the pipeline.
pub fn parse(path: &Path, text: &str, set: &[String]) -> Result<Document, Report> {
    let source = Arc::new(Source { path: path.to_owned(), text: text.to_owned(), arguments: set.to_vec() });
    let mut problems = Vec::new();
    let mut root = read(text, &mut problems);
    if problems.is_empty() {
        problems.extend(set.iter().enumerate().filter_map(|(index, text)| set::apply(&mut root, index, text).err()));
    }
    if problems.is_empty() { Ok(Document { source, root }) } else { Err(Report::new(&source, problems)) }
}

fn read(text: &str, problems: &mut Vec<Problem>) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    problems.extend(errors.iter().map(|error| {
        let place = Place::from(error.span().unwrap_or(text.len()..text.len()));
        // The parser takes any bare word that starts with t or f for a boolean.
        let bare = error.message().starts_with("invalid boolean");
        Problem::new(&place, error.message()).help(bare.then(|| "a string needs quotes".to_owned()))
    }));
    read_table(table.get_ref(), &Place::from)
}

impl Document {
    /// The plugin libraries that the file names, absolute. Entries that are no strings are left to
    /// [`Document::resolve`] to report.
    pub fn plugins(&self) -> Vec<PathBuf> {
        let texts = self.plugin_nodes().filter_map(|node| Some((node, node.text()?)));
        texts.map(|(node, text)| self.source.absolute(&node.place, text)).collect()
    }

    /// Where the entries of [`Document::plugins`] are written.
    pub(super) fn plugin_places(&self) -> impl Iterator<Item = &Place> {
        self.plugin_nodes().filter(|node| node.text().is_some()).map(|node| &node.place)
    }

    fn plugin_nodes(&self) -> impl Iterator<Item = &Node> {
        let items = match self.root.get("plugins").map(|entry| &entry.node.value) {
            Some(Value::Array(items)) => items.as_slice(),
            _ => &[],
        };
        items.iter()
    }
}
