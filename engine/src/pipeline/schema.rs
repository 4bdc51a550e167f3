//! Settings against a JSON schema, as far as schemars describes Rust types with it.
//!
//! Unlike JSON schema at large, a table whose schema lists properties takes no other keys unless the schema says so:
//! a misspelt key must never do nothing.

mod choice;
mod leaf;

use serde_json::{Map, Value as Json};

use super::hint::{hint, is_misspelt};
use super::place::{Place, Source};
use super::report::Problem;
use super::tree::{Entry, Node, Table, Value};

/// What settings may refer to.
pub(super) struct Context<'a> {
    /// The names of the pipeline's models.
    pub models: Vec<&'a str>,
    /// Where relative paths start.
    pub source: &'a Source,
}

/// The check of one table of settings.
pub(super) struct Settings<'a> {
    /// What the table is, for messages: "stage type `judge`".
    pub subject: String,
    /// The schema of the table.
    pub schema: &'a Json,
    /// Keys that the table may hold besides its settings, for hints.
    pub common: &'a [&'a str],
    /// What the settings may refer to.
    pub context: &'a Context<'a>,
}

/// References and alternatives nested deeper than this (in one value) are not followed: the schema is at fault.
const MAX_DEPTH: usize = 16;

impl<'a> Settings<'a> {
    /// The settings as JSON, paths made absolute. `place` is where missing keys are reported.
    pub fn check(&self, table: &Table, place: &Place, problems: &mut Vec<Problem>) -> Json {
        let node = Node { place: place.clone(), value: Value::Table(table.clone()) };
        let mut parts = Vec::new();
        if self.expand(&node, self.schema, "", 0, &mut parts, problems) {
            self.object(table, &node, &parts, "", problems)
        } else {
            node.json()
        }
    }

    /// Checks a value against all of `schemas`; `name` is its path from the table, such as `sampling.stop[2]`.
    fn value(&self, node: &Node, schemas: &[&'a Json], name: &str, problems: &mut Vec<Problem>) -> Json {
        let mut parts = Vec::new();
        let fits = schemas.iter().all(|schema| self.expand(node, schema, name, 0, &mut parts, problems));
        if fits { self.evaluate(node, &parts, name, problems) } else { node.json() }
    }

    /// Collects the schemas that apply to a value: references followed, alternatives chosen. `false` if no alternative
    /// fits, which is then reported.
    fn expand(
        &self,
        node: &Node,
        schema: &'a Json,
        name: &str,
        depth: usize,
        parts: &mut Vec<&'a Json>,
        problems: &mut Vec<Problem>,
    ) -> bool {
        if depth > MAX_DEPTH {
            return true;
        }
        parts.push(schema);
        let mut fits = true;
        for part in self.target(schema).into_iter().chain(members(schema, "allOf")) {
            fits &= self.expand(node, part, name, depth + 1, parts, problems);
        }
        for keyword in ["anyOf", "oneOf"] {
            let branches: Vec<&Json> = members(schema, keyword).collect();
            match self.choose(node, &branches, name, depth, parts, problems) {
                Some(Some(branch)) => fits &= self.expand(node, branch, name, depth + 1, parts, problems),
                Some(None) => {}
                None => fits = false,
            }
        }
        fits
    }

    /// The schema that `$ref` names.
    fn target(&self, schema: &Json) -> Option<&'a Json> {
        self.schema.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    /// Checks a value against schemas without references and alternatives.
    fn evaluate(&self, node: &Node, parts: &[&'a Json], name: &str, problems: &mut Vec<Problem>) -> Json {
        if let Some(problem) = parts.iter().find_map(|part| leaf::wrong_type(node, part, name)) {
            problems.push(problem);
            return node.json();
        }
        match &node.value {
            Value::Unfit(what) => {
                problems.push(Problem::new(&node.place, format!("`{name}` cannot be {what}")));
                Json::Null
            }
            Value::Table(table) => self.object(table, node, parts, name, problems),
            Value::Array(items) => self.array(items, node, parts, name, problems),
            _ => self.scalar(node, parts, name, problems),
        }
    }

    fn scalar(&self, node: &Node, parts: &[&'a Json], name: &str, problems: &mut Vec<Problem>) -> Json {
        let first = parts.iter().find_map(|part| leaf::wrong_scalar(node, part, name, self.context));
        problems.extend(first);
        match node.text() {
            Some(text) if parts.iter().any(|part| leaf::format(part) == Some("path")) => {
                self.context.source.absolute(&node.place, text).to_string_lossy().into()
            }
            _ => node.json(),
        }
    }

    fn array(&self, items: &[Node], node: &Node, parts: &[&'a Json], name: &str, problems: &mut Vec<Problem>) -> Json {
        problems.extend(parts.iter().find_map(|part| leaf::wrong_length(items, node, part, name)));
        let checked = items.iter().enumerate().map(|(index, item)| {
            let schemas: Vec<&Json> = parts.iter().filter_map(|part| item_schema(part, index)).collect();
            self.value(item, &schemas, &format!("{name}[{index}]"), problems)
        });
        checked.collect()
    }

    fn object(&self, table: &Table, node: &Node, parts: &[&'a Json], name: &str, problems: &mut Vec<Problem>) -> Json {
        let closed = closed(parts, name.is_empty());
        let missing =
            required(parts).filter(|key| table.get(key).is_none() && !(closed && misspelt(table, parts, key)));
        let message = |key| format!("{} needs the setting `{key}`", self.called(name));
        problems.extend(missing.map(|key| Problem::new(&node.place, message(key))));
        let mut json = Map::new();
        for entry in &table.0 {
            json.insert(entry.key.clone(), self.member(entry, parts, name, problems));
        }
        Json::Object(json)
    }

    fn member(&self, entry: &Entry, parts: &[&'a Json], name: &str, problems: &mut Vec<Problem>) -> Json {
        let mut schemas: Vec<&Json> = parts.iter().filter_map(|part| part.get("properties")?.get(&entry.key)).collect();
        if schemas.is_empty() {
            if closed(parts, name.is_empty()) {
                problems.push(self.unknown(entry, parts, name));
            }
            schemas = parts.iter().filter_map(|part| part.get("additionalProperties")).collect();
        }
        self.value(&entry.node, &schemas, &join(name, &entry.key), problems)
    }

    fn unknown(&self, entry: &Entry, parts: &[&Json], name: &str) -> Problem {
        let properties = parts.iter().filter_map(|part| part.get("properties")?.as_object());
        let common = if name.is_empty() { self.common } else { &[] };
        let names = properties.flat_map(Map::keys).map(String::as_str).chain(common.iter().copied());
        let help = hint(&entry.key, names, "it has");
        Problem::new(&entry.key_place, format!("{} has no setting `{}`", self.called(name), entry.key)).help(help)
    }

    /// How messages call the table at `name`.
    fn called(&self, name: &str) -> String {
        if name.is_empty() { self.subject.clone() } else { format!("`{name}`") }
    }
}

/// The path of a table's key.
fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

/// The schemas listed under a keyword.
fn members<'a>(schema: &'a Json, keyword: &str) -> impl Iterator<Item = &'a Json> + use<'a> {
    schema.get(keyword).and_then(Json::as_array).into_iter().flatten()
}

/// The keys that a table must hold, each once.
fn required<'a>(parts: &[&'a Json]) -> impl Iterator<Item = &'a str> + use<'a> {
    let mut keys: Vec<&str> = Vec::new();
    for key in parts.iter().flat_map(|part| members(part, "required")).filter_map(Json::as_str) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter()
}

/// Whether a table has an unknown key in place of `wanted`; that one is reported, with a hint.
fn misspelt(table: &Table, parts: &[&Json], wanted: &str) -> bool {
    let known = |key: &str| parts.iter().any(|part| part.get("properties").is_some_and(|all| all.get(key).is_some()));
    table.keys().any(|key| !known(key) && is_misspelt(key, wanted))
}

/// Whether a table takes no keys but those its schemas list. Settings as a whole are closed even if none are listed.
fn closed(parts: &[&Json], whole: bool) -> bool {
    let said = |keyword| parts.iter().filter_map(move |part| part.get(keyword));
    let refused =
        said("additionalProperties").chain(said("unevaluatedProperties")).any(|rest| *rest == Json::Bool(false));
    let open = said("patternProperties").next().is_some() || said("additionalProperties").next().is_some();
    refused || !open && (said("properties").next().is_some() || whole && said("type").next().is_some())
}

/// The schema of an array's item.
fn item_schema(schema: &Json, index: usize) -> Option<&Json> {
    let tuple = schema.get("prefixItems").or_else(|| schema.get("items").filter(|items| items.is_array()));
    tuple.and_then(|tuple| tuple.get(index)).or_else(|| schema.get("items").filter(|items| items.is_object()))
}
