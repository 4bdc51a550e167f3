//! `run --plan`: what a run is going to do and to cost, from a sample of a few rows; and at its end, what it did against that.
//!
//! A stage is expected to make as many records of a row as it did in the sample, a model to read and write as many tokens in a call.
//! Stages behind an examination are counted once for each adapter, too, as these are not there yet.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use obvert_api::Record;
use obvert_api::record::Adapter;
use obvert_engine::model::{Price, Usage};
use obvert_engine::pipeline::{ModelPlan, Plan, StagePlan};
use obvert_engine::registry::Body;
use obvert_engine::{Options, Outcome, Registry};
use obvert_live::figures::{Figures, money};
use obvert_stages::output::{duration, word, write_atomically};
use serde::{Deserialize, Serialize};

use super::renewed::{Place, Read};
use crate::verbs::{preview, tapped};

/// Rows of each source that are tried.
const SAMPLE: u64 = 3;
const FILE: &str = "state/plan.json";

/// What is expected of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Expected {
    /// What was asked to be run.
    pipeline: String,
    stages: Vec<Stage>,
    uses: Vec<Use>,
    /// Seconds without training: if models take all calls that they may at once, and if they take them as in the sample.
    seconds: [f64; 2],
}

#[derive(Debug, Serialize, Deserialize)]
struct Stage {
    name: String,
    /// Of a stage that makes any of rows.
    records: Option<u64>,
}

/// What a stage asks a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Use {
    model: String,
    stage: String,
    calls: f64,
    prompt_tokens: f64,
    reply_tokens: f64,
    cost: f64,
}

/// Tries the sample, prints what to expect, and keeps it for the end of the run.
pub(super) fn run(read: &Read, place: &Place, out: &Path) -> anyhow::Result<()> {
    let folder = out.join("state/plan");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let totals = totals(read, &folder)?;
    let mut sample = read.plan.clone();
    preview::limit(&mut sample, &read.registry, SAMPLE);
    let tapped = tapped::run(&sample, &read.registry, &folder)?;
    let mut expected = Expected::of(read, identity(read, place), &totals, &tapped.outcome);
    // What was known already took no time.
    if let Some(before) = Expected::read(out, &expected.pipeline).filter(|_| tried(&tapped.outcome) == 0) {
        expected.seconds = before.seconds;
    }
    expected.print(&tapped.outcome);
    if let Some((stage, reason, _)) = tapped.rejected.first() {
        println!("\nof the sample {} items were set aside, the first one by {stage}: {reason}", tapped.rejected.len());
    }
    println!(
        "\nrun it with  obvert run {} --out {}",
        word(&place.path.to_string_lossy()),
        word(&out.to_string_lossy())
    );
    let bytes = serde_json::to_vec(&expected)?;
    Ok(write_atomically(&out.join(FILE), &bytes)?)
}

/// What tells what was planned from something else.
fn identity(read: &Read, place: &Place) -> String {
    format!("{}\n{:?}", read.text, place.set)
}

/// Rows of each source, as far as it is read.
fn totals(read: &Read, folder: &Path) -> anyhow::Result<Vec<(String, i64)>> {
    let mut plan = read.plan.clone();
    plan.stages.retain(|stage| stage.from.is_empty());
    let outcome = obvert_engine::run(plan, &read.registry, &Options::new(folder.join("rows")), |_| ())?;
    Ok(outcome.stages.into_iter().map(|stage| (stage.name, stage.outputs)).collect())
}

impl Expected {
    fn of(read: &Read, pipeline: String, totals: &[(String, i64)], sample: &Outcome) -> Self {
        let plan = &read.plan;
        let made = |name: &str| sample.stages.iter().find(|stage| stage.name == name).map_or(0, |stage| stage.outputs);
        let share = |name: &str| {
            let total = totals.iter().find(|(source, _)| source == name).map_or(0, |(_, rows)| *rows);
            total as f64 / made(name).max(1) as f64
        };
        let factors: Vec<f64> = (0..plan.stages.len()).map(|at| factor(plan, &read.registry, at, share)).collect();
        let factor_of =
            |name: &str| plan.stages.iter().position(|stage| stage.name == name).map_or(1.0, |at| factors[at]);
        let records = |(stage, factor): (&StagePlan, &f64)| Stage {
            name: stage.name.clone(),
            records: is_of_rows(stage, &read.registry).then_some((made(&stage.name) as f64 * factor).round() as u64),
        };
        let uses = plan.models.iter().flat_map(|model| {
            let asked = sample.models.iter().filter(|(name, _)| *name == model.name).flat_map(|(_, stages)| stages);
            let price = model.limits.price.unwrap_or_default();
            asked
                .map(|(stage, usage)| Use::of((&model.name, stage), price, usage, factor_of(stage)))
                .collect::<Vec<_>>()
        });
        let uses: Vec<Use> = uses.filter(|expected| expected.calls > 0.0).collect();
        Expected {
            pipeline,
            stages: plan.stages.iter().zip(&factors).map(records).collect(),
            seconds: [
                plan.models.iter().map(|model| seconds(model, &uses, sample)).fold(0.0, f64::max),
                sample.elapsed.as_secs_f64() * factors.iter().copied().fold(0.0, f64::max),
            ],
            uses,
        }
    }

    fn print(&self, sample: &Outcome) {
        println!("expected, from {SAMPLE} rows of each source ({} calls were made for it):\n", tried(sample));
        let rows = self.stages.iter().filter_map(|stage| Some(vec![stage.name.clone(), stage.records?.to_string()]));
        print(Figures { columns: vec!["stage", "records"], rows: rows.collect() });
        if self.uses.is_empty() {
            println!("\nno model is asked");
            return;
        }
        println!();
        print(Figures {
            columns: vec!["model", "calls", "tokens in", "tokens out", "money"],
            rows: self.uses.iter().chain([&self.all()]).map(Use::row).collect(),
        });
        let [least, most] = self.seconds.map(duration);
        println!(
            "\n{least} if models take all calls that they may at once, {most} if they take them as for the sample; training is not in it"
        );
    }

    /// Prints what a run did against what was expected of it, if that was asked for.
    pub(super) fn compare(out: &Path, read: &Read, place: &Place, outcome: &Outcome) {
        let Some(expected) = Expected::read(out, &identity(read, place)).filter(|expected| !expected.uses.is_empty())
        else {
            return;
        };
        let mut did = Use::default();
        for usage in outcome.models.iter().flat_map(|(_, stages)| stages.values()) {
            did.add(&Use::of(("", ""), Price::default(), usage, 1.0));
        }
        // What the memo had was paid by an earlier run of the same plan.
        println!("\nagainst the plan (what was known from an earlier run counts, too)");
        let row = |name: &str, of: &Use| [vec![name.to_owned()], of.row()[1..4].to_vec()].concat();
        print(Figures {
            columns: vec!["", "calls", "tokens in", "tokens out"],
            rows: vec![row("planned", &expected.all()), row("done", &did)],
        });
    }

    /// What was expected of this pipeline, if that was asked for.
    fn read(out: &Path, pipeline: &str) -> Option<Expected> {
        let expected: Expected = serde_json::from_slice(&std::fs::read(out.join(FILE)).ok()?).ok()?;
        (expected.pipeline == pipeline).then_some(expected)
    }

    fn all(&self) -> Use {
        let mut all = Use { model: "all".into(), ..Use::default() };
        self.uses.iter().for_each(|one| all.add(one));
        all
    }
}

impl Use {
    fn of((model, stage): (&str, &str), price: Price, usage: &Usage, factor: f64) -> Self {
        let calls = (usage.calls + usage.memo_hits) as f64 * factor;
        let [prompt, reply] = [(usage.prompt_tokens, 0), (usage.reply_tokens, 1)]
            .map(|(paid, at)| (paid + usage.memo_tokens[at]) as f64 * factor);
        let cost = (prompt * price.prompt + reply * price.reply) / 1e6;
        Use { model: model.into(), stage: stage.into(), calls, prompt_tokens: prompt, reply_tokens: reply, cost }
    }

    fn add(&mut self, other: &Use) {
        self.calls += other.calls;
        self.prompt_tokens += other.prompt_tokens;
        self.reply_tokens += other.reply_tokens;
        self.cost += other.cost;
    }

    fn row(&self) -> Vec<String> {
        let counts = [self.calls, self.prompt_tokens, self.reply_tokens].map(|count| format!("{count:.0}"));
        let label =
            if self.stage.is_empty() { self.model.clone() } else { format!("{}, for {}", self.model, self.stage) };
        [vec![label], counts.to_vec(), vec![money(self.cost)]].concat()
    }
}

/// Whether it makes records in proportion to rows: sinks make none, and a training one adapter of all.
fn is_of_rows(stage: &StagePlan, registry: &Registry) -> bool {
    registry.entry(&stage.kind).is_some_and(|entry| !matches!(entry.body, Body::View(_)))
}

/// Calls that were made.
fn tried(sample: &Outcome) -> u64 {
    sample.stages.iter().map(|stage| stage.calls).sum()
}

fn print(figures: Figures) {
    figures.lines().iter().for_each(|line| println!("{line}"));
}

/// How often what a stage did for the sample is done in all: by the rows of the sources that it reads, not those beside it, and by the
/// models that are examined.
fn factor(plan: &Plan, registry: &Registry, stage: usize, share: impl Fn(&str) -> f64) -> f64 {
    let (mut open, mut seen) = (vec![stage], BTreeSet::new());
    let (mut most, mut models) = (0.0_f64, 1);
    while let Some(at) = open.pop() {
        let stage = &plan.stages[at];
        if !seen.insert(at) {
            continue;
        }
        if stage.from.is_empty() {
            most = most.max(share(&stage.name));
        }
        let entry = registry.entry(&stage.kind).filter(|entry| entry.lag.is_none());
        if entry.is_some_and(|entry| entry.with.as_deref() == Some(Adapter::NAME)) {
            models = models.max(1 + stage.with.len());
        }
        open.extend(&stage.from);
    }
    most * models as f64
}

/// Seconds that a model takes for all that is asked of it, as far as its limits tell.
fn seconds(model: &ModelPlan, uses: &[Use], sample: &Outcome) -> f64 {
    let asked = || uses.iter().filter(|one| one.model == model.name);
    let calls: f64 = asked().map(|one| one.calls).sum();
    let tokens: f64 = asked().map(|one| one.prompt_tokens + one.reply_tokens).sum();
    let usage = || sample.models.iter().filter(|(name, _)| *name == model.name).flat_map(|(_, stages)| stages.values());
    let (made, took) =
        (usage().map(|one| one.calls).sum::<u64>(), usage().map(|one| one.time.as_secs_f64()).sum::<f64>());
    let limits = &model.limits;
    let at_once = calls * took / made.max(1) as f64 / limits.max_in_flight as f64;
    let rate = |count: f64, limit: Option<f64>| limit.map_or(0.0, |per_minute| count / per_minute * 60.0);
    at_once.max(rate(calls, limits.requests_per_minute)).max(rate(tokens, limits.tokens_per_minute))
}
