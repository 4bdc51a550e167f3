//! What is expected of a run, from what a sample of it did: records, calls, tokens, money, time.
//!
//! A stage is expected to make as many records of a row as it did in the sample, a model to read and write as many tokens in a call.
//! Stages behind an examination are counted once for each adapter, too, as these are not there yet.

use std::collections::BTreeSet;

use obvert_api::Record;
use obvert_api::record::Adapter;
use obvert_engine::model::{Price, Usage};
use obvert_engine::pipeline::{ModelPlan, Plan, StagePlan};
use obvert_engine::registry::Body;
use obvert_engine::{Outcome, Registry};
use obvert_live::figures::money;
use obvert_stages::method_of;
use serde::{Deserialize, Serialize};

/// What is expected of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Expected {
    /// Of stages that make records in proportion to rows.
    pub(super) records: Vec<(String, u64)>,
    pub(super) uses: Vec<Use>,
    /// Seconds without training: if models take all calls that they may at once, and if they take them as in the sample. None if
    /// no call of the sample was timed.
    pub(super) seconds: Option<[f64; 2]>,
}

/// What a stage asks a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Use {
    model: String,
    stage: String,
    calls: f64,
    prompt_tokens: f64,
    reply_tokens: f64,
    cost: f64,
}

impl Expected {
    /// Of a plan whose sources have so many rows, by a run of a few of them.
    pub(super) fn of(plan: &Plan, registry: &Registry, totals: &[(String, i64)], sample: &Outcome) -> Self {
        let factors = Factors { plan, registry, totals, sample };
        let factors: Vec<f64> = (0..plan.stages.len()).map(|stage| factors.of(stage)).collect();
        let records = plan.stages.iter().zip(&factors).filter(|(stage, _)| is_of_rows(stage, registry));
        let records = records
            .map(|(stage, factor)| (stage.name.clone(), (made(sample, &stage.name) as f64 * factor).round() as u64));
        let uses: Vec<Use> = plan.models.iter().flat_map(|model| uses(model, plan, &factors, sample)).collect();
        Expected { records: records.collect(), seconds: seconds(plan, &uses, &factors, sample), uses }
    }

    /// All that models are asked.
    pub(super) fn all(&self) -> Use {
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

    /// All that was asked in a run of a plan, whatever of it was known from an earlier one.
    pub(super) fn of_run(plan: &Plan, outcome: &Outcome) -> Self {
        let mut all = Use::default();
        plan.models
            .iter()
            .flat_map(|model| uses(model, plan, &vec![1.0; plan.stages.len()], outcome))
            .for_each(|one| all.add(&one));
        all
    }

    fn add(&mut self, other: &Use) {
        self.calls += other.calls;
        self.prompt_tokens += other.prompt_tokens;
        self.reply_tokens += other.reply_tokens;
        self.cost += other.cost;
    }

    /// Whom it is for; calls, tokens in and out, money.
    pub(super) fn row(&self) -> Vec<String> {
        let counts = [self.calls, self.prompt_tokens, self.reply_tokens].map(|count| format!("{count:.0}"));
        let label =
            if self.stage.is_empty() { self.model.clone() } else { format!("{}, for {}", self.model, self.stage) };
        [vec![label], counts.to_vec(), vec![money(self.cost)]].concat()
    }
}

/// What the stages ask a model.
fn uses(model: &ModelPlan, plan: &Plan, factors: &[f64], sample: &Outcome) -> Vec<Use> {
    let asked = sample.models.iter().filter(|(name, _)| *name == model.name).flat_map(|(_, stages)| stages);
    let price = model.limits.price.unwrap_or_default();
    let uses = asked.map(|(stage, usage)| {
        let at = plan.stages.iter().position(|known| *known.name == **stage);
        Use::of((&model.name, stage), price, usage, at.map_or(1.0, |at| factors[at]))
    });
    uses.filter(|expected| expected.calls > 0.0).collect()
}

/// Records that a stage made.
pub(super) fn made(outcome: &Outcome, name: &str) -> i64 {
    outcome.stages.iter().find(|stage| stage.name == name).map_or(0, |stage| stage.outputs)
}

/// Whether a stage makes records in proportion to rows: sinks make none, trainings and choices of adapters one or a few of all.
fn is_of_rows(stage: &StagePlan, registry: &Registry) -> bool {
    let of_rows = |entry: &obvert_engine::registry::Entry| {
        !matches!(entry.body, Body::View(_)) && entry.output.as_deref() != Some(Adapter::NAME)
    };
    registry.entry(&stage.kind).is_some_and(of_rows)
}

/// How often what stages did for the sample is done in all.
struct Factors<'a> {
    plan: &'a Plan,
    registry: &'a Registry,
    totals: &'a [(String, i64)],
    sample: &'a Outcome,
}

impl Factors<'_> {
    /// By the rows of the sources that the stage reads, not those beside it, and by the models that are examined.
    fn of(&self, stage: usize) -> f64 {
        let (mut open, mut seen) = (vec![stage], BTreeSet::new());
        let (mut rows, mut models) = (0.0_f64, 1);
        while let Some(at) = open.pop() {
            if seen.insert(at) {
                let stage = &self.plan.stages[at];
                rows = rows.max(self.rows(stage));
                models = models.max(self.models(stage));
                open.extend(&stage.from);
            }
        }
        rows * models as f64
    }

    /// Of a source: its rows to each that was tried.
    fn rows(&self, stage: &StagePlan) -> f64 {
        let total = self.totals.iter().find(|(source, _)| *source == stage.name).map_or(0, |(_, rows)| *rows);
        total as f64 / made(self.sample, &stage.name).max(1) as f64
    }

    /// Of a stage that examines: the base model and the adapters that it is handed.
    fn models(&self, stage: &StagePlan) -> usize {
        let entry = self.registry.entry(&stage.kind).filter(|entry| entry.lag.is_none());
        let examines = entry.is_some_and(|entry| entry.with.as_deref() == Some(Adapter::NAME));
        let adapters = || stage.with.iter().map(|maker| self.adapters(&self.plan.stages[*maker])).sum::<usize>();
        if examines { 1 + adapters() } else { 1 }
    }

    /// Adapters that a stage hands on: its own, or of those that it chooses from the best of each method.
    fn adapters(&self, maker: &StagePlan) -> usize {
        let Some(over) = maker.settings["over"].as_str() else { return 1 };
        let trainings = obvert_stages::trained(self.plan).into_iter().map(|adapter| adapter.stage);
        let trainings = trainings.filter(|stage| self.plan.reaches(stage, maker));
        trainings.map(|stage| method_of(&stage, Some(over)).to_owned()).collect::<BTreeSet<_>>().len().max(1)
    }
}

/// Seconds that the models take at least, and as the sample took them.
fn seconds(plan: &Plan, uses: &[Use], factors: &[f64], sample: &Outcome) -> Option<[f64; 2]> {
    sample.models.iter().flat_map(|(_, stages)| stages.values()).find(|usage| usage.calls > 0)?;
    let least = plan.models.iter().map(|model| seconds_of(model, uses, sample)).fold(0.0, f64::max);
    let as_sample = sample.elapsed.as_secs_f64() * factors.iter().copied().fold(0.0, f64::max);
    Some([least, as_sample.max(least)])
}

/// Seconds that a model takes for all that is asked of it, as far as its limits tell.
fn seconds_of(model: &ModelPlan, uses: &[Use], sample: &Outcome) -> f64 {
    let asked = || uses.iter().filter(|one| one.model == model.name);
    let calls: f64 = asked().map(|one| one.calls).sum();
    let tokens: f64 = asked().map(|one| one.prompt_tokens + one.reply_tokens).sum();
    let usage = || sample.models.iter().filter(|(name, _)| *name == model.name).flat_map(|(_, stages)| stages.values());
    let made = usage().map(|one| one.calls).sum::<u64>().max(1) as f64;
    let took = usage().map(|one| one.time.as_secs_f64()).sum::<f64>();
    let limits = &model.limits;
    let at_once = calls * took / made / limits.max_in_flight as f64;
    let rate = |count: f64, limit: Option<f64>| limit.map_or(0.0, |per_minute| count / per_minute * 60.0);
    at_once.max(rate(calls, limits.requests_per_minute)).max(rate(tokens, limits.tokens_per_minute))
}
