//! `[[test]]` tables.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::super::TestPlan;
use super::super::hint::hint;
use super::super::report::Problem;
use super::super::tree::{Entry, Table, Value};
use super::Resolver;

pub(in super::super) static TEST_SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let by = |of: &str, items: Json, says: &str| {
        let items = json!({ "type": "array", "items": items });
        json!({ "type": "object", "additionalProperties": if of == "model" { json!({ "type": "object" }) } else { items }, "description": says })
    };
    let row = json!({});
    json!({ "type": "object", "required": ["name"], "additionalProperties": false, "properties": {
        "name": { "type": "string", "minLength": 1, "description": "What the test shows." },
        "rows": by("stage", row.clone(), "By source, the rows that it has; sources that are not named have none."),
        "models": by("model", row.clone(), "By model, a script: `rule = [{ match, reply }]`. Others keep their own, if they are scripts; the rest answer nothing."),
        "records": by("stage", row, "By stage, the records that it makes, in any order; of each the fields that are to be so."),
        "rejected": by("stage", json!({ "type": "string" }), "By stage, parts of the reasons for which items are set aside."),
    } })
});

impl<'a> Resolver<'a> {
    pub(super) fn tests(&mut self) -> Vec<TestPlan> {
        let Some(entry) = self.document.root.get("test") else {
            return Vec::new();
        };
        let Value::Array(items) = &entry.node.value else {
            self.problems.push(Problem::new(&entry.key_place, "tests are written as tables [[test]]"));
            return Vec::new();
        };
        let tables =
            items.iter().map(|node| Entry { key: "test".into(), key_place: node.place.clone(), node: node.clone() });
        tables.filter_map(|entry| self.test(&entry)).collect()
    }

    fn test(&mut self, entry: &Entry) -> Option<TestPlan> {
        let Some(table) = entry.node.table() else {
            self.problems.push(Problem::new(&entry.key_place, "a test is a table"));
            return None;
        };
        let json = self.settings("a test", &TEST_SCHEMA, &[], table, &entry.key_place);
        for (key, sort) in [("rows", "stage"), ("records", "stage"), ("rejected", "stage"), ("models", "model")] {
            self.known_names(table, key, sort);
        }
        self.only_sources(table);
        self.only_makers(table);
        let by_name = |key: &str| {
            let all = json.get(key).and_then(Json::as_object).into_iter().flatten();
            all.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        let lists = |key: &str| {
            let list = |value: Json| value.as_array().cloned().unwrap_or_default();
            by_name(key).into_iter().map(|(name, value)| (name, list(value))).collect()
        };
        let texts = |(name, reasons): (String, Json)| {
            let reasons = reasons.as_array().into_iter().flatten().filter_map(Json::as_str);
            (name, reasons.map(str::to_owned).collect())
        };
        Some(TestPlan {
            name: json.get("name").and_then(Json::as_str).unwrap_or_default().to_owned(),
            rows: lists("rows"),
            models: by_name("models"),
            records: lists("records"),
            rejected: by_name("rejected").into_iter().map(texts).collect(),
            location: self.location(&entry.key_place),
        })
    }

    /// Reports rows that are given to stages that have others already.
    fn only_sources(&mut self, test: &Table) {
        let stages = self.document.root.table("stage");
        let reads =
            |name: &str| stages.and_then(|stages| stages.table(name)).is_some_and(|stage| stage.get("from").is_some());
        for entry in test.table("rows").map(|table| table.0.as_slice()).unwrap_or_default() {
            if reads(&entry.key) {
                let message = format!("`{}` is no source: `rows` are of sources", entry.key);
                self.problems.push(Problem::new(&entry.key_place, message));
            }
        }
    }

    /// Reports records that are expected of stages that make none.
    fn only_makers(&mut self, test: &Table) {
        let stages = self.document.root.table("stage");
        let catalog = self.catalog;
        let kind = |name: &str| stages?.table(name)?.get("type")?.node.text().and_then(|kind| catalog.stage(kind));
        for entry in test.table("records").map(|table| table.0.as_slice()).unwrap_or_default() {
            if kind(&entry.key).is_some_and(|kind| kind.output.is_none()) {
                let message = format!("`{}` makes no records: name the stage that it reads", entry.key);
                self.problems.push(Problem::new(&entry.key_place, message));
            }
        }
    }

    /// Reports names in a test's table that no stage, or no model, has.
    fn known_names(&mut self, test: &Table, key: &str, sort: &str) {
        let names: Vec<&str> = self.document.root.table(sort).into_iter().flat_map(Table::keys).collect();
        for entry in test.table(key).map(|table| table.0.as_slice()).unwrap_or_default() {
            if !names.contains(&entry.key.as_str()) {
                let help = hint(&entry.key, names.iter().copied(), &format!("the {sort}s are"));
                let message = format!("no {sort} is called `{}`", entry.key);
                self.problems.push(Problem::new(&entry.key_place, message).help(help));
            }
        }
    }
}
