//! Step 2: names resolved, settings checked, record types matched.

mod cases;
mod models;
mod selector;
mod stages;

pub(super) use cases::TEST_SCHEMA;
pub(super) use models::COMMON_SCHEMA as MODEL_COMMON;
pub(super) use stages::COMMON_SCHEMA as STAGE_COMMON;

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::hint::{hint, is_misspelt};
use super::place::Place;
use super::report::Problem;
use super::schema::{Context, Settings};
use super::tree::{Entry, Table};
use super::{Catalog, Document, Plan, Report, RunSettings};

impl Document {
    /// The plan that the file means.
    ///
    /// # Errors
    /// Everything that is wrong with the file, at once.
    pub fn resolve(&self, catalog: &dyn Catalog) -> Result<Plan, Report> {
        let models = self.root.table("model").into_iter().flat_map(Table::keys).collect();
        let context = Context { models, source: &self.source };
        let mut resolver = Resolver { document: self, catalog, context, problems: Vec::new() };
        let plan = resolver.plan();
        if resolver.problems.is_empty() { Ok(plan) } else { Err(Report::new(&self.source, resolver.problems)) }
    }
}

const TOP_LEVEL: [&str; 7] = ["name", "include", "plugins", "run", "model", "stage", "test"];
pub(super) static RUN_SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let from = |minimum: u64, says: &str| json!({ "type": "integer", "minimum": minimum, "description": says });
    json!({ "type": "object", "additionalProperties": false, "properties": {
        "workers": from(1, "Worker threads."),
        "dialogues": from(1, "Dialogues in play at once."),
        "records": from(1, "Rows of each source that may be under way at once."),
        "bytes": from(1, "Bytes of such rows; a larger one goes alone."),
        "max_failures": from(0, "How many items may fail before the run stops."),
        "max_failure_share": { "type": "number", "minimum": 0, "maximum": 1,
            "description": "Which share of a stage's items may fail before the run stops, from the hundredth on." },
        "seed": from(0, "Another number gives another run of the same pipeline."),
    } })
});

pub(super) static PLUGINS_SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    json!({ "type": "object", "properties": { "plugins": {
        "type": "array", "items": { "anyOf": [{ "type": "string", "minLength": 1 }, {
            "type": "object", "required": ["path"], "additionalProperties": false, "properties": {
                "path": { "type": "string", "minLength": 1 },
                "blake3": { "type": "string", "description": "The hash of what it must be; `obvert lock` writes it." },
            },
        }] },
        "description": "Plugins that the pipeline uses: libraries, folders of crates, programs.",
    } } })
});

struct Resolver<'a> {
    document: &'a Document,
    catalog: &'a dyn Catalog,
    context: Context<'a>,
    problems: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    fn plan(&mut self) -> Plan {
        self.top_level();
        let name = self.name();
        self.plugins();
        Plan { name, run: self.run(), models: self.models(), stages: self.stages(), tests: self.tests() }
    }

    fn top_level(&mut self) {
        for entry in &self.document.root.0 {
            if !TOP_LEVEL.contains(&entry.key.as_str()) {
                let help = hint(&entry.key, TOP_LEVEL, "a pipeline has");
                let message = format!("a pipeline has no key `{}`", entry.key);
                self.problems.push(Problem::new(&entry.key_place, message).help(help));
            }
        }
    }

    fn name(&mut self) -> String {
        let Some(entry) = self.document.root.get("name") else {
            self.missing_name();
            return String::new();
        };
        match entry.node.text() {
            Some(name) => self.check_name(name, &entry.node.place),
            None => self.problems.push(Problem::new(&entry.node.place, "the pipeline's name must be a string")),
        }
        entry.node.text().unwrap_or_default().to_owned()
    }

    fn missing_name(&mut self) {
        // A misspelt one is reported already.
        if !self.document.root.keys().any(|key| is_misspelt(key, "name")) {
            let help = "add a first line such as name = \"quickstart\"".to_owned();
            self.problems.push(Problem::new(&Place::START, "the pipeline has no name").help(help));
        }
    }

    /// Names become file names, metric labels and `--set` paths.
    fn check_name(&mut self, name: &str, place: &Place) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            let message = format!("`{name}` cannot be a name: names are of letters, digits, `-` and `_`");
            self.problems.push(Problem::new(place, message));
        }
    }

    fn plugins(&mut self) {
        if let Some(entry) = self.document.root.get("plugins") {
            self.settings("the pipeline", &PLUGINS_SCHEMA, &[], &Table(vec![entry.clone()]), &entry.key_place);
        }
    }

    fn run(&mut self) -> RunSettings {
        let default = RunSettings::default();
        let Some(entry) = self.document.root.get("run") else {
            return default;
        };
        let Some(table) = self.table(entry) else {
            return default;
        };
        let json = self.settings("[run]", &RUN_SCHEMA, &[], table, &entry.key_place);
        let number = |key: &str| json.get(key).and_then(Json::as_u64);
        let size = |key: &str| number(key).and_then(|number| usize::try_from(number).ok());
        RunSettings {
            workers: size("workers").unwrap_or(default.workers),
            dialogues: size("dialogues").unwrap_or(default.dialogues),
            records: size("records").unwrap_or(default.records),
            bytes: number("bytes").unwrap_or(default.bytes),
            max_failures: number("max_failures").unwrap_or(default.max_failures),
            max_failure_share: json
                .get("max_failure_share")
                .and_then(Json::as_f64)
                .unwrap_or(default.max_failure_share),
            seed: number("seed").unwrap_or(default.seed),
        }
    }

    fn settings(&mut self, subject: &str, schema: &Json, common: &[&str], table: &Table, place: &Place) -> Json {
        let settings = Settings { subject: subject.to_owned(), schema, common, context: &self.context };
        settings.check(table, place, &mut self.problems)
    }

    /// The settings that all tables of a sort have: those of its keys that are in the schema.
    fn common(&mut self, subject: &str, schema: &Json, entry: &Entry, table: &Table) -> Json {
        let is_common = |entry: &&Entry| schema["properties"].get(&entry.key).is_some();
        let common = Table(table.0.iter().filter(is_common).cloned().collect());
        self.settings(subject, schema, &[], &common, &entry.key_place)
    }

    /// An entry's table; anything else is reported.
    fn table(&mut self, entry: &'a Entry) -> Option<&'a Table> {
        let table = entry.node.table();
        if table.is_none() {
            let message = format!("`{}` must be a table", entry.key);
            self.problems.push(Problem::new(&entry.key_place, message));
        }
        table
    }
}
