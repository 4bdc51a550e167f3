//! `[stage.NAME]` tables.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::super::hint::{hint, is_misspelt};
use super::super::place::Place;
use super::super::report::Problem;
use super::super::tree::{Entry, Node, Table, Value};
use super::super::wiring::{Draft, Input, wire};
use super::super::{Isolation, Location, StagePlan};
use super::Resolver;
use super::selector::Sort;

const STAGE: Sort = Sort {
    table: "stage",
    selector: "type",
    mistaken: "kind",
    called: "stage type",
    common: &["type", "from", "with", "isolation", "timeout_s", "memory_mb", "grid"],
};

/// Of all stage types, beside their inputs.
pub(in super::super) static COMMON_SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    json!({ "type": "object", "properties": {
        "isolation": { "type": "string", "enum": ["none", "process"],
            "description": "Whether a plugin's stage has a process of its own: what crashes there costs one item." },
        "timeout_s": { "type": "number", "exclusiveMinimum": 0, "description": "Seconds that such a process may be at an item." },
        "memory_mb": { "type": "integer", "minimum": 1, "maximum": 1 << 30, "description": "MiB of memory that it may have." },
        "grid": { "type": "object", "additionalProperties": { "type": "array", "minItems": 1 },
            "description": "Settings with lists of values: a stage for every combination of them, named after them." },
    } })
});

impl<'a> Resolver<'a> {
    pub(super) fn stages(&mut self) -> Vec<StagePlan> {
        let tables = self.tables(STAGE);
        if self.document.root.get("stage").is_none_or(|entry| entry.node.table().is_some_and(Table::is_empty)) {
            let help = "add tables [stage.NAME]".to_owned();
            self.problems.push(Problem::new(&Place::START, "the pipeline has no stages").help(help));
        }
        let names: Vec<&str> = tables.iter().map(|(entry, _)| entry.key.as_str()).collect();
        let drafts: Vec<_> = tables.iter().map(|(entry, table)| self.draft(entry, table, &names)).collect();
        wire(&drafts, &mut self.problems);
        let isolated: Vec<_> = tables.iter().map(|(entry, table)| self.isolation(entry, table)).collect();
        drafts.into_iter().zip(isolated).map(|(draft, isolation)| self.stage(draft, isolation)).collect()
    }

    fn draft(&mut self, entry: &'a Entry, table: &'a Table, names: &[&str]) -> Draft<'a> {
        let catalog = self.catalog;
        let selected = self.selected(STAGE, entry, table, |kind| catalog.stage(kind), &catalog.stage_kinds());
        let settings = selected.map(|(kind, stage)| self.typed(STAGE, kind, stage.schema, entry, table));
        let misspelt = |key: &str| table.0.iter().any(|entry| is_misspelt(&entry.key, key) && self.reported(entry));
        let (from_reported, with_reported) = (misspelt("from"), misspelt("with"));
        Draft {
            name: &entry.key,
            place: &entry.key_place,
            kind_name: selected.map(|(kind, _)| kind).unwrap_or_default(),
            kind: selected.map(|(_, stage)| stage),
            from: self.inputs(table.get("from"), names),
            from_place: table.get("from").map(|entry| &entry.key_place),
            from_reported,
            with_reported,
            with: self.inputs(table.get("with"), names),
            with_place: table.get("with").map(|entry| &entry.key_place),
            settings: settings.unwrap_or_default(),
        }
    }

    /// Whether a key is at fault already.
    fn reported(&self, entry: &Entry) -> bool {
        self.problems.iter().any(|problem| problem.place == entry.key_place)
    }

    /// The stages that `from` or `with` names; unknown ones are reported.
    fn inputs(&mut self, entry: Option<&'a Entry>, names: &[&str]) -> Vec<Input<'a>> {
        let Some(entry) = entry else {
            return Vec::new();
        };
        let items = match &entry.node.value {
            Value::Array(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.node),
        };
        let mut inputs: Vec<Input<'_>> = Vec::new();
        for item in items {
            let index = self.input(&entry.key, item, names);
            if index.is_some() && inputs.iter().any(|(_, other)| *other == index) {
                let message = format!("`{}` names `{}` twice", entry.key, item.text().unwrap_or_default());
                self.problems.push(Problem::new(&item.place, message));
            } else {
                inputs.push((&item.place, index));
            }
        }
        inputs
    }

    fn input(&mut self, key: &str, item: &Node, names: &[&str]) -> Option<usize> {
        let Some(name) = item.text() else {
            let message = format!("`{key}` must be names of stages, as strings");
            self.problems.push(Problem::new(&item.place, message));
            return None;
        };
        let index = names.iter().position(|other| *other == name);
        if index.is_none() {
            let help = hint(name, names.iter().copied(), "the stages are");
            let message = format!("no stage is called `{name}`");
            self.problems.push(Problem::new(&item.place, message).help(help));
        }
        index
    }

    /// Whether the stage's code runs in a process of its own, and what that may take.
    fn isolation(&mut self, entry: &Entry, table: &Table) -> Option<Isolation> {
        let common = self.common("a stage", &COMMON_SCHEMA, entry, table);
        let process = common.get("isolation").and_then(Json::as_str) == Some("process");
        for (key, cause) in [("timeout_s", "what hangs"), ("memory_mb", "what takes too much")] {
            if let (false, Some(entry)) = (process, table.get(key)) {
                let message =
                    format!("`{key}` needs `isolation = \"process\"`: {cause} within this program cannot be ended");
                self.problems.push(Problem::new(&entry.key_place, message));
            }
        }
        let timeout_s = common.get("timeout_s").and_then(Json::as_f64);
        let memory_mb = common.get("memory_mb").and_then(Json::as_u64);
        process.then_some(Isolation { timeout_s, memory_mb })
    }

    fn stage(&self, draft: Draft<'a>, isolation: Option<Isolation>) -> StagePlan {
        let indices = |inputs: &[Input<'_>]| inputs.iter().filter_map(|(_, index)| *index).collect();
        StagePlan {
            name: draft.name.to_owned(),
            kind: draft.kind_name.to_owned(),
            from: indices(&draft.from),
            with: indices(&draft.with),
            settings: draft.settings,
            isolation,
            location: self.location(draft.place),
        }
    }

    pub(super) fn location(&self, place: &Place) -> Location {
        let source = &self.document.source;
        let start = || Location { file: source.path().to_owned(), line: 1, column: 1 };
        source.location(place).unwrap_or_else(start)
    }
}
