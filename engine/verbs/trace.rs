//! `trace`: where a pair comes from, and what became of it: turns, calls, responses, verdicts, and the updates that it was trained in.

mod pair;
mod shown;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use obvert_engine::pipeline::{Plan, StagePlan};
use obvert_engine::{Explained, Registry, Wanted, mentions};
use obvert_stages::{Update, trained, updates_of};
use serde_json::{Value, json};

use super::Refused;
use super::explain::{self, line};
use pair::Pair;
use shown::shown;

/// Arguments of `trace`. The run has to be over, or interrupted.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    about: explain::Arguments,
    /// Print a line of JSON for each record, call and update, whole.
    #[arg(long)]
    json: bool,
}

/// What belongs to a record.
struct Traced {
    records: Vec<(String, Value)>,
    calls: Vec<Explained>,
    updates: Vec<(String, Update)>,
}

/// Traces a record.
pub fn trace(arguments: &Arguments) -> anyhow::Result<()> {
    let (about, (plan, registry, out)) = (&arguments.about, arguments.about.open()?);
    let traced = Traced::of(&plan, &registry, &out, &about.id)?;
    let cause = "no record has this text; what depends on a training, or on a call that was not made, is not seen";
    anyhow::ensure!(!traced.records.is_empty(), Refused(format!("error: `{}`: {cause}", about.id)));
    if arguments.json {
        traced.print_json()
    } else {
        traced.print(&plan, &registry)
    }
    Ok(())
}

impl Traced {
    fn of(plan: &Plan, registry: &Registry, out: &Path, id: &str) -> anyhow::Result<Self> {
        let records = |wanted| obvert_engine::records_of(plan.clone(), registry, out, wanted);
        let calls = |wanted| obvert_engine::explain(plan.clone(), registry, out, wanted);
        let own = id.to_owned();
        let about: Wanted = Arc::new(move |id, record| id == own || mentions(record, &own));
        let found = records(Arc::clone(&about))?;
        let Some(pair) = found.iter().find_map(|(_, record)| Pair::of(record, id)) else {
            return Ok(Traced { records: found, calls: calls(about)?, updates: Vec::new() });
        };
        let wanted: Wanted = {
            let pair = pair.clone();
            Arc::new(move |_, record| pair.needs(record))
        };
        let (mut traced, behind) = (records(Arc::clone(&wanted))?, behind(plan, &found));
        let mut asked = calls(wanted)?;
        traced.retain(|(stage, _)| behind.contains(stage));
        asked.retain(|call| behind.contains(&call.stage) && pair.asks(call));
        Ok(Traced { records: traced, calls: asked, updates: updates(plan, out, id)? })
    }

    fn print_json(&self) {
        self.records.iter().for_each(|(stage, record)| println!("{}", json!({ "stage": stage, "record": record })));
        for call in &self.calls {
            let Explained { stage, model, sample, .. } = call;
            println!("{}", json!({ "stage": stage, "model": model, "sample": sample, "call": line(call) }));
        }
        self.updates
            .iter()
            .for_each(|(stage, update)| println!("{}", json!({ "stage": stage, "update": update.step })));
    }

    fn print(&self, plan: &Plan, registry: &Registry) {
        for stage in &plan.stages {
            let kind = registry.entry(&stage.kind).and_then(|entry| entry.output.as_deref()).unwrap_or_default();
            let of = |name: &str| *name == stage.name;
            let records: Vec<_> = self.records.iter().filter(|(name, _)| of(name)).map(|(_, record)| record).collect();
            let calls: BTreeSet<String> = self.calls.iter().filter(|call| of(&call.stage)).map(line).collect();
            let updates: Vec<_> = self.updates.iter().filter(|(name, _)| of(name)).collect();
            if records.is_empty() && calls.is_empty() && updates.is_empty() {
                continue;
            }
            println!("{} ({})", stage.name, stage.kind);
            records.iter().for_each(|record| println!("  {}", shown(kind, record)));
            calls
                .iter()
                .for_each(|call| println!("  call: {}", call.split_once("  ").map_or(&**call, |(_, rest)| rest)));
            updates.iter().for_each(|(_, update)| println!("  update {}", update.step));
        }
    }
}

/// The updates of each stage that trains that were made on a pair.
fn updates(plan: &Plan, out: &Path, pair: &str) -> anyhow::Result<Vec<(String, Update)>> {
    let mut updates = Vec::new();
    for adapter in trained(plan) {
        let of = updates_of(out, &adapter.stage, pair)?;
        updates.extend(of.into_iter().map(|update| (adapter.stage.clone(), update)));
    }
    Ok(updates)
}

/// The stages that make some records, and all that these are made of.
fn behind(plan: &Plan, about: &[(String, Value)]) -> BTreeSet<String> {
    let make = |stage: &&StagePlan| about.iter().any(|(name, _)| *name == stage.name);
    let upstream = plan.stages.iter().filter(make).flat_map(|stage| plan.upstream(stage));
    let names = upstream.filter_map(|at| Some(plan.stages.get(at)?.name.clone()));
    names.chain(about.iter().map(|(name, _)| name.clone())).collect()
}
