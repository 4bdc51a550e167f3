//! `trace`: where a record comes from, and what became of it: rows, calls, verdicts, the pair, and the updates that it was trained in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obvert_engine::pipeline::{Plan, StagePlan};
use obvert_engine::{Explained, Registry, mentions};
use obvert_stages::{Findings, Update, updates_of};
use serde_json::{Value, json};

use super::explain::{find, label, line};
use super::{Refused, Trust};

/// Characters of a record's text that are shown.
const SHOWN: usize = 120;

/// Arguments of `trace`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// The id of a pair, a dialogue, a profile, a persona, or any other text that a record has as a whole.
    id: String,
    /// Folder of the results; `runs/NAME` by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Override a value: stage.key=value.
    #[arg(long)]
    set: Vec<String>,
    /// Load no plugin that is not pinned by its hash (see `obvert lock`).
    #[arg(long)]
    locked: bool,
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
    let trust = Trust::of(arguments.locked);
    let (_, plan, registry) = super::plan(&arguments.pipeline, &arguments.set, &Findings::default(), trust)?;
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(&plan.name));
    if !out.join("state/memo").is_dir() {
        return Err(Refused(format!("error: {}: no run has been here", out.display())).into());
    }
    let traced = Traced::of(&plan, &registry, &out, &arguments.id)?;
    if traced.records.is_empty() {
        let cause = "no record has this text; what depends on a training, or on a call that was not made, is not seen";
        return Err(Refused(format!("error: `{}`: {cause}", arguments.id)).into());
    }
    if arguments.json {
        traced.print_json()
    } else {
        traced.print(&plan)
    }
    Ok(())
}

impl Traced {
    fn of(plan: &Plan, registry: &Registry, out: &Path, id: &str) -> anyhow::Result<Self> {
        let own = id.to_owned();
        let about =
            obvert_engine::records_of(plan.clone(), registry, out, Arc::new(move |record| mentions(record, &own)))?;
        let pair = about.iter().find_map(|(_, record)| Pair::of(record, id));
        let Some(pair) = pair else {
            let calls = obvert_engine::explain(plan.clone(), registry, out, id)?;
            return Ok(Traced { records: about, calls, updates: Vec::new() });
        };
        let wanted = pair.clone();
        let records =
            obvert_engine::records_of(plan.clone(), registry, out, Arc::new(move |record| wanted.needs(record)))?;
        let mut calls = obvert_engine::explain(plan.clone(), registry, out, &pair.dialogue)?;
        // What is asked of a turn is asked for each of its samples.
        let of_sample = |call: &Explained| {
            call.item.get("query").is_none() || pair.has_sample(call.sample, find(&call.item, "turn"))
        };
        calls.retain(|call| pair.needs(&call.item) && of_sample(call));
        let behind = behind(plan, &about);
        let (records, calls) = (
            records.into_iter().filter(|(stage, _)| behind.contains(stage)).collect(),
            calls.into_iter().filter(|call| behind.contains(&call.stage)).collect(),
        );
        let trains = plan.stages.iter().filter(|stage| stage.kind == "train");
        let mut updates = Vec::new();
        for stage in trains {
            updates.extend(updates_of(out, &stage.name, id)?.into_iter().map(|update| (stage.name.clone(), update)));
        }
        Ok(Traced { records, calls, updates })
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

    fn print(&self, plan: &Plan) {
        for stage in &plan.stages {
            let of = |name: &str| *name == stage.name;
            let records: Vec<_> = self.records.iter().filter(|(name, _)| of(name)).map(|(_, record)| record).collect();
            let calls: BTreeSet<String> = self.calls.iter().filter(|call| of(&call.stage)).map(line).collect();
            let updates: Vec<_> = self.updates.iter().filter(|(name, _)| of(name)).collect();
            if records.is_empty() && calls.is_empty() && updates.is_empty() {
                continue;
            }
            println!("{} ({})", stage.name, stage.kind);
            records.iter().for_each(|record| println!("  {}", shown(record)));
            calls
                .iter()
                .for_each(|call| println!("  call: {}", call.split_once("  ").map_or(&**call, |(_, rest)| rest)));
            updates.iter().for_each(|(_, update)| println!("  update {}", update.step));
        }
    }
}

/// The stages that make some records, and all that these are made of.
fn behind(plan: &Plan, about: &[(String, Value)]) -> BTreeSet<String> {
    let make = |stage: &&StagePlan| about.iter().any(|(name, _)| *name == stage.name);
    let upstream = plan.stages.iter().filter(make).flat_map(|stage| plan.upstream(stage));
    let names = upstream.filter_map(|at| Some(plan.stages.get(at)?.name.clone()));
    names.chain(about.iter().map(|(name, _)| name.clone())).collect()
}

/// A record in a line: what tells it from others, and what it says.
fn shown(record: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (said, sample) = (&record["response"], &record["sample"]);
    let told = match record {
        _ if record.get("verdicts").is_some() => {
            format!(" sample {}: {}", said["sample"], verdicts(&record["verdicts"]))
        }
        _ if record.get("chosen_sample").is_some() => pair_said(record),
        _ if record.get("original").is_some() => {
            let [original, reversed] = ["original", "reversed"].map(|side| text(&record[side]["text"]));
            return format!("{}: {original} → {reversed}", text(&record["original"]["id"]));
        }
        _ if record["profile"].is_object() => {
            format!(": profile {}, persona {}", text(&record["profile"]["id"]), text(&record["persona"]["id"]))
        }
        _ if record.get("text").is_some() && !sample.is_null() => {
            format!(" sample {sample}: {}", text(&record["text"]))
        }
        _ => ["query", "text", "description"]
            .iter()
            .find_map(|key| Some(format!(": {}", text(record.get(key)?))))
            .unwrap_or_default(),
    };
    let cut: String = told.chars().take(SHOWN).collect();
    let more = if cut.len() < told.len() { "…" } else { "" };
    format!("{}{cut}{more}", label(record))
}

/// `c1 yes, c2 no (program)`.
fn verdicts(verdicts: &Value) -> String {
    let said = |verdict: &Value| {
        let answer = match verdict["satisfied"].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "undecided",
        };
        format!("{} {answer}", verdict["constraint"].as_str().unwrap_or_default())
    };
    verdicts.as_array().into_iter().flatten().map(said).collect::<Vec<_>>().join(", ")
}

fn pair_said(pair: &Value) -> String {
    let reversed =
        pair["constraints"].as_array().into_iter().flatten().filter(|constraint| constraint["reversed"] == true);
    let reversed: Vec<&str> = reversed.filter_map(|constraint| constraint["id"].as_str()).collect();
    let [chosen, rejected] = [&pair["chosen_sample"], &pair["rejected_sample"]];
    format!(": sample {chosen} chosen, {rejected} rejected, g {}, reversed {}", pair["g"], reversed.join(" "))
}

/// A pair, as far as it tells what it was made of.
#[derive(Clone)]
struct Pair {
    id: String,
    dialogue: String,
    turn: u64,
    samples: [u64; 2],
    /// Ids of the rows that its dialogue began with.
    rows: Vec<String>,
}

impl Pair {
    fn of(record: &Value, id: &str) -> Option<Self> {
        let text = |value: &Value| Some(value.as_str()?.to_owned());
        let sample = |side: &str| record[format!("{side}_sample")].as_u64();
        (record["id"] == id).then_some(())?;
        let dialogue = text(&record["dialogue"])?;
        Some(Pair {
            id: id.to_owned(),
            turn: record["turn"].as_u64()?,
            samples: [sample("chosen")?, sample("rejected")?],
            rows: text(&record["profile"]).into_iter().chain(dialogue.split('+').map(str::to_owned)).collect(),
            dialogue,
        })
    }

    /// Whether a record is one that it was made of, or made from.
    fn needs(&self, record: &Value) -> bool {
        if mentions(record, &self.id)
            || self.rows.iter().any(|row| record["id"] == *row || record["profile"] == *row)
                && record.get("chosen").is_none()
        {
            return true;
        }
        let turn = find(record, "turn");
        let sample = record.get("sample").or_else(|| record["response"].get("sample")).and_then(Value::as_u64);
        mentions(record, &self.dialogue)
            && record.get("chosen").is_none()
            && turn.and_then(Value::as_u64).is_none_or(|turn| turn <= self.turn)
            && sample.is_none_or(|sample| self.has_sample(sample as u32, turn))
    }

    /// Whether it is made of this sample, if it is of its turn.
    fn has_sample(&self, sample: u32, turn: Option<&Value>) -> bool {
        turn.and_then(Value::as_u64) != Some(self.turn) || self.samples.contains(&u64::from(sample))
    }
}
