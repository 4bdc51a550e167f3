//! Step 1: text to values with places.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::Report;
use super::grid;
use super::include::Including;
use super::place::{File, Place, Source};
use super::report::Problem;
use super::set;
use super::tree::{Node, Table, Value, read_table};

/// A pipeline file that is sound TOML, with what it includes, and with the `--set` arguments applied.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) source: Arc<Source>,
    pub(super) root: Table,
}

/// Parses the text of the pipeline file `path`, which includes no others, and applies `--set` arguments (`NAME.KEY=VALUE` for a
/// stage, or a full path such as `run.workers=2`).
///
/// # Errors
/// All syntax errors of the text; if there are none, all arguments that change nothing of the pipeline.
pub fn parse(path: &Path, text: &str, set: &[String]) -> Result<Document, Report> {
    parse_with(path, text, set, &|_| Err(io::Error::other("no file is read here")))
}

/// As [`parse`]; `read` reads the files that are included.
///
/// # Errors
/// As for [`parse`]; of those files too, and where one cannot be read.
pub fn parse_with(
    path: &Path,
    text: &str,
    set: &[String],
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Document, Report> {
    let mut including = Including::new(read);
    let mut root = including.table(File { path: path.to_owned(), text: text.to_owned() });
    let Including { files, mut problems, .. } = including;
    let source = Arc::new(Source { files, arguments: set.to_vec() });
    if problems.is_empty() {
        problems.extend(set.iter().enumerate().filter_map(|(index, text)| set::apply(&mut root, index, text).err()));
    }
    if problems.is_empty() {
        problems.extend(grid::expand(&mut root));
    }
    if problems.is_empty() { Ok(Document { source, root }) } else { Err(Report::new(&source, problems)) }
}

/// The values of a file's text.
pub(super) fn read(text: &str, file: usize, problems: &mut Vec<Problem>) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    problems.extend(errors.iter().map(|error| {
        let place = Place::of(file, error.span().unwrap_or(text.len()..text.len()));
        // The parser takes any bare word that starts with t or f for a boolean.
        let bare = error.message().starts_with("invalid boolean");
        Problem::new(&place, error.message()).help(bare.then(|| "a string needs quotes".to_owned()))
    }));
    read_table(table.get_ref(), &|range| Place::of(file, range))
}

/// A plugin that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEntry {
    /// Where it is: absolute.
    pub path: PathBuf,
    /// The hash of its content, where it is pinned to one.
    pub blake3: Option<String>,
}

impl Document {
    /// The plugins that the file names. Entries that are of no use are left to [`Document::resolve`] to report.
    pub fn plugins(&self) -> Vec<PluginEntry> {
        self.plugin_nodes().map(|(_, path, blake3)| PluginEntry { path: self.path(path), blake3 }).collect()
    }

    /// Where the entries of [`Document::plugins`] are written.
    pub(super) fn plugin_places(&self) -> impl Iterator<Item = &Place> {
        self.plugin_nodes().map(|(node, _, _)| &node.place)
    }

    /// The files, the pipeline's own first, with their texts.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.source.files.iter().map(|file| (file.path.as_path(), file.text.as_str()))
    }

    /// The text of the file with its plugins pinned to these hashes, one for each of [`Document::plugins`]; nothing where they are not
    /// written in the file itself as a list of paths, or of tables in one line.
    pub fn pinned(&self, hashes: &[String]) -> Option<String> {
        let mut text = self.source.files.first()?.text.clone();
        let place = |((node, path, _), hash): ((&Node, &Node, _), &String)| {
            let path = toml::Value::String(path.text()?.to_owned());
            let entry = format!("{{ path = {path}, blake3 = \"{hash}\" }}");
            let Place::File { file: 0, .. } = node.place else { return None };
            Some((self.source.span(&node.place)?, entry))
        };
        let places = self.plugin_nodes().zip(hashes).map(place).collect::<Option<Vec<_>>>()?;
        // From behind, so that places stay where they are.
        places.into_iter().rev().for_each(|(span, entry)| text.replace_range(span, &entry));
        let mut problems = Vec::new();
        let again = Document { source: Arc::clone(&self.source), root: read(&text, 0, &mut problems) };
        let wanted = self.plugins().into_iter().zip(hashes);
        let wanted = wanted.map(|(plugin, hash)| PluginEntry { blake3: Some(hash.clone()), ..plugin });
        (problems.is_empty() && again.plugins() == wanted.collect::<Vec<_>>()).then_some(text)
    }

    fn path(&self, node: &Node) -> PathBuf {
        self.source.absolute(&node.place, node.text().unwrap_or_default())
    }

    /// Entries of plugins with the node of their path and the hash that they are pinned to.
    fn plugin_nodes(&self) -> impl DoubleEndedIterator<Item = (&Node, &Node, Option<String>)> {
        let items = match self.root.get("plugins").map(|entry| &entry.node.value) {
            Some(Value::Array(items)) => items.as_slice(),
            _ => &[],
        };
        let entry = |node| -> Option<(&Node, &Node, Option<String>)> {
            let Some(table) = Node::table(node) else { return Node::text(node).map(|_| (node, node, None)) };
            let path = &table.get("path")?.node;
            let hash = table.get("blake3").and_then(|entry| entry.node.text()).map(str::to_owned);
            path.text().map(|_| (node, path, hash))
        };
        items.iter().filter_map(entry)
    }
}
