//! `trace`: where a record comes from, and what became of it: turns, calls, responses, verdicts, the updates that a pair was trained in, or
//! why it was set aside.

mod aside;
mod shown;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use obvert_engine::pipeline::Plan;
use obvert_engine::{Explained, Looked, Registry};
use obvert_stages::{Update, trained, updates_of};
use serde_json::{Value, json};

use super::about::{self, About, label};
use super::explain::line;
use aside::{Aside, parts, set_aside};
use shown::shown;

/// Arguments of `trace`. The run has to be over, or interrupted.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    about: about::Arguments,
    /// Print a line of JSON for each record, call and update, whole.
    #[arg(long)]
    json: bool,
}

/// What belongs to a record.
struct Traced {
    records: Vec<(String, Value)>,
    calls: Vec<Explained>,
    updates: Vec<(String, Update)>,
    set_aside: Vec<Aside>,
    groups: Vec<(String, Value)>,
}

/// Traces a record.
pub fn trace(arguments: &Arguments) -> anyhow::Result<()> {
    let about = arguments.about.open()?;
    let traced = Traced::of(&about)?;
    anyhow::ensure!(traced.found(), about.unknown());
    if arguments.json {
        traced.print_json()
    } else {
        traced.print(&about.plan, &about.registry)
    }
    Ok(())
}

impl Traced {
    fn of(about: &About) -> anyhow::Result<Self> {
        let About { plan, out, id, .. } = about;
        let Looked { mut records, calls, groups } = about.look()?;
        let (set_aside, updates) = (set_aside(out, id)?, updates(plan, out, id)?);
        // No record has the id of a group, or of a row that came to nothing.
        let items = set_aside.iter().map(|aside| &aside.item).chain(groups.iter().map(|(_, item)| item));
        let parts: Vec<Value> = items.filter(|_| records.is_empty()).flat_map(parts).collect();
        if !parts.is_empty() {
            records = about.look_for(Arc::new(move |_, record| parts.contains(record)))?.records;
        }
        Ok(Traced { records, calls, updates, set_aside, groups })
    }

    fn found(&self) -> bool {
        // A pair that is withdrawn may have been trained on.
        let Traced { records, set_aside, groups, updates, .. } = self;
        !(records.is_empty() && set_aside.is_empty() && groups.is_empty() && updates.is_empty())
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
        self.groups.iter().for_each(|(stage, group)| println!("{}", json!({ "stage": stage, "group": group })));
        self.set_aside.iter().for_each(|aside| println!("{}", json!({ "stage": aside.stage, "set_aside": aside })));
    }

    fn print(&self, plan: &Plan, registry: &Registry) {
        for stage in &plan.stages {
            let kind = registry.entry(&stage.kind).and_then(|entry| entry.output.as_deref()).unwrap_or_default();
            let lines = self.lines(&stage.name, kind);
            if !lines.is_empty() {
                println!("{} ({})", stage.name, stage.kind);
                lines.iter().for_each(|line| println!("  {line}"));
            }
        }
    }

    /// What there is of a stage, whose records are of this kind.
    fn lines(&self, stage: &str, kind: &str) -> Vec<String> {
        let calls: BTreeSet<String> = self.calls.iter().filter(|call| call.stage == stage).map(line).collect();
        let call = |line: String| format!("call: {}", line.split_once("  ").map_or(&*line, |(_, rest)| rest));
        let records = of(stage, &self.records).map(|record| shown(kind, record));
        let groups = of(stage, &self.groups).map(|group| format!("took {}", said(group)));
        let aside = self.set_aside.iter().filter(|aside| aside.stage == stage);
        let aside = aside.map(|Aside { reason, item, .. }| format!("set aside: {reason}: {}", said(item)));
        let updates = of(stage, &self.updates).map(|update| format!("update {}", update.step));
        records.chain(groups).chain(calls.into_iter().map(call)).chain(aside).chain(updates).collect()
    }
}

/// What is a stage's.
fn of<'a, T>(stage: &'a str, all: &'a [(String, T)]) -> impl Iterator<Item = &'a T> {
    all.iter().filter(move |(name, _)| name == stage).map(|(_, one)| one)
}

/// An item in a few words.
fn said(item: &Value) -> String {
    match &parts(item)[..] {
        [one] => label(one),
        parts => format!("{} records, of {}", parts.len(), parts.first().map(label).unwrap_or_default()),
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
