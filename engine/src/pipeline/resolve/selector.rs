//! What `[model.NAME]` and `[stage.NAME]` tables share: a key names a type of the catalog, and the rest are settings.

use serde_json::Value as Json;

use super::super::hint::{hint, is_misspelt, list};
use super::super::report::Problem;
use super::super::tree::{Entry, Table};
use super::Resolver;

/// The two sorts of table that name a type of the catalog.
#[derive(Clone, Copy)]
pub(super) struct Sort {
    /// The table that holds them.
    pub table: &'static str,
    /// The key that names the type.
    pub selector: &'static str,
    /// The same of the other sort, which writers confuse with it.
    pub mistaken: &'static str,
    /// What the type is called.
    pub called: &'static str,
    /// The keys that are no settings of the type.
    pub common: &'static [&'static str],
}

impl<'a> Resolver<'a> {
    /// The tables `[sort.NAME]`, in the order of the file.
    pub(super) fn tables(&mut self, sort: Sort) -> Vec<(&'a Entry, &'a Table)> {
        let Some(entry) = self.document.root.get(sort.table) else {
            return Vec::new();
        };
        let Some(tables) = self.table(entry) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in &tables.0 {
            self.check_name(&entry.key, &entry.key_place);
            found.extend(self.table(entry).map(|table| (entry, table)));
        }
        found
    }

    /// What the catalog (`find`) has under the type's name that a table gives; `names` are all there are.
    pub(super) fn selected<T>(
        &mut self,
        sort: Sort,
        entry: &'a Entry,
        table: &'a Table,
        find: impl Fn(&'a str) -> Option<T>,
        names: &[String],
    ) -> Option<(&'a str, T)> {
        let Some(found) = table.get(sort.selector) else {
            self.problems.push(missing(sort, entry, table, names));
            return None;
        };
        let place = &found.node.place;
        let Some(name) = found.node.text() else {
            let message = format!("`{}` must be a string", sort.selector);
            self.problems.push(Problem::new(place, message));
            return None;
        };
        let selected = find(name);
        if selected.is_none() {
            let help = hint(name, names.iter().map(String::as_str), &format!("the {}s are", sort.called));
            let message = format!("no {} is called `{name}`", sort.called);
            self.problems.push(Problem::new(place, message).help(help));
        }
        selected.map(|selected| (name, selected))
    }

    /// The settings of a table whose type is `name`.
    pub(super) fn typed(&mut self, sort: Sort, name: &str, schema: &Json, entry: &Entry, table: &Table) -> Json {
        let subject = format!("{} `{name}`", sort.called);
        self.settings(&subject, schema, sort.common, &table.without(sort.common), &entry.key_place)
    }
}

/// The problem of a table that names no type.
fn missing(sort: Sort, entry: &Entry, table: &Table, names: &[String]) -> Problem {
    let message = format!("{} `{}` has no `{}`", sort.table, entry.key, sort.selector);
    let mistaken = |key: &str| key == sort.mistaken || is_misspelt(key, sort.selector);
    match table.0.iter().find(|entry| mistaken(&entry.key)) {
        Some(found) => Problem::new(&found.key_place, message).help(format!("did you mean `{}`?", sort.selector)),
        None => Problem::new(&entry.key_place, message).help(format!("the {}s are: {}", sort.called, list(names))),
    }
}
