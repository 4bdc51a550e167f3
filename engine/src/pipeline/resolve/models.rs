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
    common: &["kind", "max_in_flight", "timeout_s", "retries"],
};

const DEFAULT_MAX_IN_FLIGHT: usize = 64;

/// Of all model kinds.
pub(in super::super) static COMMON_SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    json!({ "type": "object", "properties": {
        "max_in_flight": { "type": "integer", "minimum": 1, "description": "Calls that may be under way at once." },
        "timeout_s": { "type": "number", "exclusiveMinimum": 0, "description": "Seconds that a call may take." },
        "retries": { "type": "integer", "minimum": 0, "maximum": 100, "description": "How often a call that failed is made again." },
    } })
});

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
        let common = self.common("a model", &COMMON_SCHEMA, entry, table);
        let number = |key: &str| common.get(key).and_then(Json::as_u64).and_then(|number| number.try_into().ok());
        ModelPlan {
            name: entry.key.clone(),
            kind: selected.map(|(kind, _)| kind.to_owned()).unwrap_or_default(),
            max_in_flight: number("max_in_flight").unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            timeout_s: common.get("timeout_s").and_then(Json::as_f64),
            retries: number("retries").unwrap_or_default(),
            settings: settings.unwrap_or_default(),
        }
    }
}
