//! `[model.NAME]` tables.

use std::sync::LazyLock;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use crate::model::Limits;

use super::super::ModelPlan;
use super::super::report::Problem;
use super::super::tree::{Entry, Table};
use super::Resolver;
use super::selector::Sort;

const MODEL: Sort = Sort {
    table: "model",
    selector: "kind",
    mistaken: "type",
    called: "model kind",
    common: &[
        "kind",
        "max_in_flight",
        "timeout_s",
        "retries",
        "requests_per_minute",
        "tokens_per_minute",
        "budget",
        "price",
    ],
};

/// Of all model kinds.
pub(in super::super) static COMMON_SCHEMA: LazyLock<Json> =
    LazyLock::new(|| inline().into_root_schema_for::<Limits>().to_value());

/// Of schemas that refer to nothing: these are put among those of a kind.
fn inline() -> SchemaGenerator {
    SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator()
}

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
        let limits: Limits = serde_json::from_value(common).unwrap_or_default();
        if limits.budget.money.is_some() && limits.price.is_none() {
            let message =
                format!("model `{}` has a budget of money, and no `price` that tells what it uses", entry.key);
            self.problems.push(
                Problem::new(&entry.key_place, message)
                    .help("per million tokens: price = { prompt = 0.15, reply = 0.6 }".to_string()),
            );
        }
        ModelPlan {
            name: entry.key.clone(),
            kind: selected.map(|(kind, _)| kind.to_owned()).unwrap_or_default(),
            limits,
            settings: settings.unwrap_or_default(),
        }
    }
}
