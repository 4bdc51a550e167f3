//! `[model.NAME]` tables.

use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::super::ModelPlan;
use super::super::tree::{Entry, Table};
use super::Resolver;
use super::selector::Sort;

const MODEL: Sort = Sort {
    table: "model",
    selector: "kind",
    mistaken: "type",
    called: "model kind",
    common: &["kind", "max_in_flight"],
};

const DEFAULT_MAX_IN_FLIGHT: usize = 64;

static COMMON_SCHEMA: LazyLock<Json> = LazyLock::new(
    || json!({ "type": "object", "properties": { "max_in_flight": { "type": "integer", "minimum": 1 } } }),
);

impl<'a> Resolver<'a> {
    pub(super) fn models(&mut self) -> Vec<ModelPlan> {
        let tables = self.tables(MODEL);
        tables.into_iter().map(|(entry, table)| self.model(entry, table)).collect()
    }

    fn model(&mut self, entry: &'a Entry, table: &'a Table) -> ModelPlan {
        let catalog = self.catalog;
        let names = catalog.model_kinds();
        let selected = self.selected(MODEL, entry, table, |kind| catalog.model(kind), &names);
        let settings = selected.map(|(kind, schema)| self.typed(MODEL, kind, schema, entry, table));
        ModelPlan {
            name: entry.key.clone(),
            kind: selected.map(|(kind, _)| kind.to_owned()).unwrap_or_default(),
            max_in_flight: self.max_in_flight(table).unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            settings: settings.unwrap_or_default(),
        }
    }

    fn max_in_flight(&mut self, table: &Table) -> Option<usize> {
        let entry = table.get("max_in_flight")?;
        let table = Table(vec![entry.clone()]);
        let json = self.settings("a model", &COMMON_SCHEMA, &[], &table, &entry.key_place);
        json.get("max_in_flight")?.as_u64()?.try_into().ok()
    }
}
