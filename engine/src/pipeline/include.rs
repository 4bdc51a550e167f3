//! `include = ["base.toml"]`: another file's tables, in front of those of the file that names it.
//!
//! What both say, the file that includes says: tables are merged key by key. Plugins and tests are those of all files.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::document::read;
use super::place::{File, Place};
use super::report::Problem;
use super::tree::{Entry, Node, Table, Value};

/// Keys whose lists are those of all files.
const GATHERED: [&str; 2] = ["plugins", "test"];

/// Reads a file, and those that it includes.
pub(super) struct Including<'a> {
    read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// All files so far.
    pub files: Vec<File>,
    /// Those that are being read: none may include one of them.
    open: Vec<usize>,
    pub problems: Vec<Problem>,
}

impl<'a> Including<'a> {
    pub fn new(read: &'a dyn Fn(&Path) -> io::Result<String>) -> Self {
        Including { read, files: Vec::new(), open: Vec::new(), problems: Vec::new() }
    }

    /// A file's values, over those of the files that it includes.
    pub fn table(&mut self, file: File) -> Table {
        let index = self.files.len();
        let mut own = read(&file.text, index, &mut self.problems);
        self.files.push(file);
        self.open.push(index);
        let named = own.0.iter().position(|entry| entry.key == "include").map(|at| own.0.remove(at));
        let mut whole = Table::default();
        for node in named.iter().flat_map(|entry| listed(&entry.node)) {
            if let Some(file) = self.included(node) {
                merge(&mut whole, self.table(file), true);
            }
        }
        merge(&mut whole, own, true);
        self.open.pop();
        whole
    }

    /// The file that an entry names.
    fn included(&mut self, node: &Node) -> Option<File> {
        let found = self.found(node);
        found.map_err(|cause| self.problems.push(Problem::new(&node.place, cause))).ok()
    }

    fn found(&self, node: &Node) -> Result<File, String> {
        let name = node.text().ok_or("`include` names files, as strings")?;
        let Place::File { file, .. } = node.place else { return Err("`include` stands in a file".into()) };
        let folder = self.files[file].path.parent().unwrap_or(Path::new(""));
        let path = plain(&folder.join(name));
        if self.open.iter().any(|open| plain(&self.files[*open].path) == path) {
            return Err(format!("`{name}` includes itself"));
        }
        if self.open.len() >= DEEPEST {
            return Err(format!("`{name}` would be the {DEEPEST}th file that one is included by"));
        }
        let text = (self.read)(&path).map_err(|error| format!("`{name}` cannot be read: {error}"))?;
        Ok(File { path, text })
    }
}

/// Files that include each other, at most: links can make a circle that no name shows.
const DEEPEST: usize = 32;

/// A path without detours: `a/../b` and `./b` are `b`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// The entries of a list, or a value that stands for a list of one.
fn listed(node: &Node) -> &[Node] {
    match &node.value {
        Value::Array(items) => items,
        _ => std::slice::from_ref(node),
    }
}

/// Puts values over others.
fn merge(under: &mut Table, over: Table, top: bool) {
    for entry in over.0 {
        let known = under.0.iter_mut().find(|known| known.key == entry.key);
        match (known, entry) {
            (None, entry) => under.0.push(entry),
            (Some(known), Entry { key, key_place, node }) => match (&mut known.node.value, node) {
                (Value::Table(under), Node { value: Value::Table(over), .. }) => merge(under, over, false),
                (Value::Array(under), Node { value: Value::Array(over), .. })
                    if top && GATHERED.contains(&key.as_str()) =>
                {
                    under.extend(over);
                }
                (_, node) => *known = Entry { key, key_place, node },
            },
        }
    }
}
