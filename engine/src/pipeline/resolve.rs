//! Step 2: names resolved, settings checked, record types matched.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::hint::hint;
use super::place::Place;
use super::report::Problem;
use super::schema::{Context, Settings};
use super::tree::{Entry, Node, Table, Value};
use super::wiring::{Draft, wire};
use super::{Catalog, Document, Location, ModelPlan, Plan, Report, RunSettings, StagePlan};

impl Document {
    /// The plan that the file means.
    ///
    /// # Errors
    /// Everything that is wrong with the file, at once.
    pub fn resolve(&self, catalog: &dyn Catalog) -> Result<Plan, Report> {
        let models = self
            .root
            .table("model")
            .into_iter()
            .flat_map(Table::keys)
            .collect();
        let context = Context {
            models,
            source: &self.source,
        };
        let mut resolver = Resolver {
            document: self,
            catalog,
            context,
            problems: Vec::new(),
        };
        let plan = resolver.plan();
        if resolver.problems.is_empty() {
            Ok(plan)
        } else {
            Err(Report::new(&self.source, resolver.problems))
        }
    }
}

const START: Place = Place::File { start: 0, end: 0 };
const TOP_LEVEL: [&str; 5] = ["name", "plugins", "run", "model", "stage"];
/// The keys of `[stage.NAME]` that are no settings of its type.
const STAGE_KEYS: [&str; 3] = ["type", "from", "with"];
/// The keys of `[model.NAME]` that are no settings of its kind.
const MODEL_KEYS: [&str; 2] = ["kind", "max_in_flight"];
const DEFAULT_MAX_IN_FLIGHT: usize = 64;

static RUN_SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let from = |minimum: u64| json!({ "type": "integer", "minimum": minimum });
    json!({ "type": "object", "additionalProperties": false, "properties": {
        "workers": from(1), "dialogues": from(1), "max_failures": from(0), "seed": from(0),
    } })
});

static MODEL_SCHEMA: LazyLock<Json> = LazyLock::new(
    || json!({ "type": "object", "properties": { "max_in_flight": { "type": "integer", "minimum": 1 } } }),
);

static PLUGINS_SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    json!({ "type": "object", "properties": { "plugins": {
        "type": "array", "items": { "type": "string", "minLength": 1 },
    } } })
});

/// The two sorts of table that name a type from the catalog.
#[derive(Clone, Copy)]
struct Sort {
    table: &'static str,
    /// The key that names the type.
    selector: &'static str,
    /// The same of the other sort, which writers confuse with it.
    mistaken: &'static str,
    /// What the type is called.
    called: &'static str,
}

const STAGE: Sort = Sort {
    table: "stage",
    selector: "type",
    mistaken: "kind",
    called: "stage type",
};
const MODEL: Sort = Sort {
    table: "model",
    selector: "kind",
    mistaken: "type",
    called: "model kind",
};

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
        Plan {
            name,
            run: self.run(),
            models: self.models(),
            stages: self.stages(),
        }
    }

    fn top_level(&mut self) {
        for entry in &self.document.root.0 {
            if !TOP_LEVEL.contains(&entry.key.as_str()) {
                let help = hint(&entry.key, TOP_LEVEL, "a pipeline has");
                let message = format!("a pipeline has no key `{}`", entry.key);
                self.problems
                    .push(Problem::new(&entry.key_place, message).help(help));
            }
        }
    }

    fn name(&mut self) -> String {
        let Some(entry) = self.document.root.get("name") else {
            let help = "add a first line such as name = \"quickstart\"".to_owned();
            self.problems
                .push(Problem::new(&START, "the pipeline has no name").help(help));
            return String::new();
        };
        match entry.node.text() {
            Some(name) => self.check_name(name, &entry.node.place),
            None => self.problems.push(Problem::new(
                &entry.node.place,
                "the pipeline's name must be a string",
            )),
        }
        entry.node.text().unwrap_or_default().to_owned()
    }

    /// Names become file names, metric labels and `--set` paths.
    fn check_name(&mut self, name: &str, place: &Place) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            let message =
                format!("`{name}` cannot be a name: names are of letters, digits, `-` and `_`");
            self.problems.push(Problem::new(place, message));
        }
    }

    fn plugins(&mut self) {
        if let Some(entry) = self.document.root.get("plugins") {
            self.settings(
                "the pipeline",
                &PLUGINS_SCHEMA,
                &[],
                &Table(vec![entry.clone()]),
                &entry.key_place,
            );
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
            max_failures: number("max_failures").unwrap_or(default.max_failures),
            seed: number("seed").unwrap_or(default.seed),
        }
    }

    fn settings(
        &mut self,
        subject: &str,
        schema: &Json,
        common: &[&str],
        table: &Table,
        place: &Place,
    ) -> Json {
        let settings = Settings {
            subject: subject.to_owned(),
            schema,
            common,
            context: &self.context,
        };
        settings.check(table, place, &mut self.problems)
    }

    fn table(&mut self, entry: &'a Entry) -> Option<&'a Table> {
        let table = entry.node.table();
        if table.is_none() {
            let message = format!("`{}` must be a table", entry.key);
            self.problems.push(Problem::new(&entry.key_place, message));
        }
        table
    }

    /// The tables `[sort.NAME]`, in the order of the file.
    fn tables(&mut self, sort: Sort) -> Vec<(&'a Entry, &'a Table)> {
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

    fn models(&mut self) -> Vec<ModelPlan> {
        let tables = self.tables(MODEL);
        tables
            .into_iter()
            .map(|(entry, table)| self.model(entry, table))
            .collect()
    }

    fn model(&mut self, entry: &'a Entry, table: &'a Table) -> ModelPlan {
        let kind = self.selector(MODEL, entry, table, self.catalog.model_kinds());
        let schema = kind.and_then(|kind| self.catalog.model(kind));
        let settings = self.typed(MODEL, kind.zip(schema), &MODEL_KEYS, entry, table);
        ModelPlan {
            name: entry.key.clone(),
            kind: kind.unwrap_or_default().to_owned(),
            max_in_flight: self.max_in_flight(table).unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            settings,
        }
    }

    fn max_in_flight(&mut self, table: &Table) -> Option<usize> {
        let entry = table.get("max_in_flight")?;
        let json = self.settings(
            "a model",
            &MODEL_SCHEMA,
            &[],
            &Table(vec![entry.clone()]),
            &entry.key_place,
        );
        json.get("max_in_flight")?.as_u64()?.try_into().ok()
    }

    /// The type that a table names, if the catalog has it.
    fn selector(
        &mut self,
        sort: Sort,
        entry: &'a Entry,
        table: &'a Table,
        known: Vec<String>,
    ) -> Option<&'a str> {
        let names = known.iter().map(String::as_str);
        let Some(found) = table.get(sort.selector) else {
            let problem = missing_selector(
                sort,
                entry,
                table,
                hint("", names, &format!("the {}s are", sort.called)),
            );
            self.problems.push(problem);
            return None;
        };
        let place = &found.node.place;
        let Some(kind) = found.node.text() else {
            self.problems.push(Problem::new(
                place,
                format!("`{}` must be a string", sort.selector),
            ));
            return None;
        };
        if !known.iter().any(|name| name == kind) {
            let help = hint(kind, names, &format!("the {}s are", sort.called));
            self.problems.push(
                Problem::new(place, format!("no {} is called `{kind}`", sort.called)).help(help),
            );
            return None;
        }
        Some(kind)
    }

    /// The settings of a table whose type is known; JSON unchecked if it is not.
    fn typed(
        &mut self,
        sort: Sort,
        known: Option<(&str, &Json)>,
        common: &[&str],
        entry: &Entry,
        table: &Table,
    ) -> Json {
        let table = table.without(common);
        let Some((kind, schema)) = known else {
            return Json::Null;
        };
        self.settings(
            &format!("{} `{kind}`", sort.called),
            schema,
            common,
            &table,
            &entry.key_place,
        )
    }

    fn stages(&mut self) -> Vec<StagePlan> {
        let tables = self.tables(STAGE);
        if tables.is_empty()
            && self
                .document
                .root
                .get("stage")
                .is_none_or(|entry| entry.node.table().is_some())
        {
            let help = "add tables [stage.NAME]".to_owned();
            self.problems
                .push(Problem::new(&START, "the pipeline has no stages").help(help));
        }
        let names: Vec<&str> = tables.iter().map(|(entry, _)| entry.key.as_str()).collect();
        let drafts: Vec<_> = tables
            .iter()
            .map(|(entry, table)| self.draft(entry, table, &names))
            .collect();
        wire(&drafts, &mut self.problems);
        tables
            .iter()
            .zip(&drafts)
            .map(|((entry, table), draft)| self.stage(entry, table, draft))
            .collect()
    }

    fn draft(&mut self, entry: &'a Entry, table: &'a Table, names: &[&str]) -> Draft<'a> {
        let kind_name = self.selector(STAGE, entry, table, self.catalog.stage_kinds());
        Draft {
            name: &entry.key,
            place: &entry.key_place,
            kind_name: kind_name.unwrap_or_default(),
            kind: kind_name.and_then(|kind| self.catalog.stage(kind)),
            from: table.get("from").map(|entry| self.inputs(entry, names)),
            from_place: table.get("from").map(|entry| &entry.key_place),
            with: table.get("with").map(|entry| self.inputs(entry, names)),
            with_place: table.get("with").map(|entry| &entry.key_place),
        }
    }

    /// The stages that `from` or `with` names; unknown ones are reported and left out, as `None`.
    fn inputs(&mut self, entry: &'a Entry, names: &[&str]) -> Vec<(&'a Place, Option<usize>)> {
        let items = match &entry.node.value {
            Value::Array(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.node),
        };
        let mut inputs: Vec<(&Place, Option<usize>)> = Vec::new();
        for item in items {
            let index = self.input(&entry.key, item, names);
            if index.is_some() && inputs.iter().any(|(_, other)| *other == index) {
                let message = format!(
                    "`{}` names `{}` twice",
                    entry.key,
                    item.text().unwrap_or_default()
                );
                self.problems.push(Problem::new(&item.place, message));
            } else {
                inputs.push((&item.place, index));
            }
        }
        inputs
    }

    fn input(&mut self, key: &str, item: &Node, names: &[&str]) -> Option<usize> {
        let Some(name) = item.text() else {
            self.problems.push(Problem::new(
                &item.place,
                format!("`{key}` must be names of stages, as strings"),
            ));
            return None;
        };
        let index = names.iter().position(|other| *other == name);
        if index.is_none() {
            let help = hint(name, names.iter().copied(), "the stages are");
            self.problems
                .push(Problem::new(&item.place, format!("no stage is called `{name}`")).help(help));
        }
        index
    }

    fn stage(&mut self, entry: &'a Entry, table: &'a Table, draft: &Draft<'a>) -> StagePlan {
        let known = draft.kind.map(|kind| (draft.kind_name, kind.schema));
        StagePlan {
            name: entry.key.clone(),
            kind: draft.kind_name.to_owned(),
            from: draft.from().filter_map(|(_, index)| *index).collect(),
            with: draft.with().filter_map(|(_, index)| *index).collect(),
            settings: self.typed(STAGE, known, &STAGE_KEYS, entry, table),
            location: self.location(&entry.key_place),
        }
    }

    fn location(&self, place: &Place) -> Location {
        let source = &self.document.source;
        let start = || Location {
            file: source.path.clone(),
            line: 1,
            column: 1,
        };
        source.location(place).unwrap_or_else(start)
    }
}

fn missing_selector(sort: Sort, entry: &Entry, table: &Table, known: Option<String>) -> Problem {
    let message = format!("{} `{}` has no `{}`", sort.table, entry.key, sort.selector);
    match table.get(sort.mistaken) {
        Some(mistaken) => Problem::new(&mistaken.key_place, message)
            .help(format!("did you mean `{}`?", sort.selector)),
        None => Problem::new(&entry.key_place, message).help(known),
    }
}
