//! Rows that a stage asks a model about, one call for each.

use obvert_engine::pipeline::parse;
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Options, Outcome, Registry, Settled, View};
use serde_json::json;

use crate::library;

/// Runs so many calls to the model `m` of a table's text; the registry has its kind.
pub fn asked(items: u64, model: &str, registry: &mut Registry) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let rows = folder.path().join("rows.jsonl");
    let row = |id: u64| json!({ "id": id.to_string(), "key": id.to_string(), "value": 7 }).to_string() + "\n";
    std::fs::write(&rows, (0..items).map(row).collect::<String>())?;
    let text = format!(
        "name = \"asked\"\n[model.m]\n{model}\n[stage.rows]\ntype = \"rows\"\npath = {rows:?}\n\
         [stage.ask]\ntype = \"toy-ask\"\nfrom = \"rows\"\nmodel = \"m\"\n[stage.out]\ntype = \"nothing\"\nfrom = \"ask\"\n"
    );
    registry.add_plugin(&library("toys")?)?;
    let any = json!({ "type": "object" });
    registry.add("nothing", Entry::view("*", any, std::sync::Arc::new(|_, _| Ok(Box::new(Nothing)))));
    let document = parse(&folder.path().join("asked.toml"), &text, &[]).map_err(|e| anyhow::anyhow!("{e}"))?;
    let plan = document.resolve(registry).map_err(|e| anyhow::anyhow!("{e}"))?;
    let outcome = obvert_engine::run(plan, registry, &Options::new(folder.path().join("out")), |_| ())?;
    anyhow::ensure!(outcome.stages[1].done == items as i64, "not all items were handled");
    Ok(outcome)
}

struct Nothing;

impl View for Nothing {
    fn update(&mut self, _: Vec<Change>, _: Settled) -> Result<(), String> {
        Ok(())
    }
}
