//! `report.html`: what a run did, on one self-contained page. No scripts, no network, nothing that needs colour.

mod chart;

use std::collections::BTreeMap;
use std::path::Path;

use obvert_api::record::{Pair, PairConstraint};
use obvert_eval::table::{Row, Table};
use serde::Serialize;

use super::side_by_side::under_both;
use super::{CASES, Case, Error, PairsSummary, template};
use crate::diversity::Diversity;
use chart::Chart;

/// What one stage did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageCount {
    /// The stage's name in the pipeline.
    pub name: String,
    /// Its kind or plugin.
    pub kind: String,
    /// Items that reached it; 0 for a source.
    pub inputs: u64,
    /// Items that it handled without rejecting them, whatever it made of them: `inputs = handled + rejected`.
    pub handled: u64,
    /// Items set aside in `rejected.jsonl`.
    pub rejected: u64,
    /// Records that it emitted.
    pub outputs: u64,
    /// Replies of models that it was given, paid or from the memo.
    pub calls: u64,
    /// How many of `calls` came from the memo.
    pub memo_hits: u64,
}

/// What one model was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelUse {
    /// The model's name in the pipeline.
    pub model: String,
    /// The stage that asked it.
    pub stage: String,
    /// Replies, paid or from the memo.
    pub calls: u64,
    /// How many of `calls` came from the memo.
    pub memo_hits: u64,
    /// Tokens read in paid calls.
    pub prompt_tokens: u64,
    /// Tokens written in paid calls.
    pub completion_tokens: u64,
    /// Calls that failed, each attempt counted.
    pub failures: u64,
    /// What paid calls cost, in the unit of the model's price.
    pub cost: f64,
    /// Time spent in paid calls, in seconds, summed over concurrent ones.
    pub seconds: f64,
}

/// What a report says.
#[derive(Clone, Debug, Default)]
pub struct ReportFacts {
    /// Name of the run: the pipeline's.
    pub name: String,
    /// When, as it shall be shown.
    pub date: String,
    /// Wall-clock time of the run, in seconds.
    pub elapsed: f64,
    /// The pipeline's text.
    pub pipeline: String,
    /// One entry per stage, in the pipeline's order.
    pub stages: Vec<StageCount>,
    /// Counts over all pairs.
    pub pairs: PairsSummary,
    /// A pair to explain.
    pub example: Option<Pair>,
    /// Values per logged step with TRL's names and `step`, as `metrics::read` gives them, by the stage that trains.
    pub metrics: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
    /// One row per model that was examined, the base first, by the stage that scores.
    pub scores: BTreeMap<String, Vec<Row>>,
    /// Several runs side by side, by the stage that scores.
    pub tables: BTreeMap<String, Table>,
    /// How varied dialogues are, if a stage looked at that.
    pub diversity: Option<Diversity>,
    /// One entry per model.
    pub models: Vec<ModelUse>,
}

/// What the template sees.
#[derive(Serialize)]
struct View<'a> {
    css: &'static str,
    name: &'a str,
    date: &'a str,
    elapsed: f64,
    pipeline: &'a str,
    stages: &'a [StageCount],
    pairs: &'a PairsSummary,
    cases: Vec<Bar<&'static Case>>,
    differences: Vec<Bar<u32>>,
    example: Option<Example<'a>>,
    trainings: Vec<Training<'a>>,
    scores: &'a BTreeMap<String, Vec<Row>>,
    tables: &'a BTreeMap<String, Table>,
    diversity: Option<&'a Diversity>,
    models: &'a [ModelUse],
}

/// One bar of a histogram.
#[derive(Serialize)]
struct Bar<T> {
    of: T,
    count: u64,
    /// Of all, 0 to 1.
    share: f64,
}

/// The curves of one stage.
#[derive(Serialize)]
struct Training<'a> {
    stage: &'a str,
    charts: Vec<Chart>,
}

#[derive(Serialize)]
struct Example<'a> {
    pair: &'a Pair,
    query: &'a str,
    constraints: Vec<Line<'a>>,
}

/// A constraint of the example, its verdicts in words.
#[derive(Serialize)]
struct Line<'a> {
    constraint: &'a PairConstraint,
    chosen: String,
    rejected: String,
}

/// Writes the page.
pub fn write(path: &Path, facts: &ReportFacts) -> Result<(), Error> {
    let view = View {
        css: include_str!("report.css"),
        name: &facts.name,
        date: &facts.date,
        elapsed: facts.elapsed,
        pipeline: &facts.pipeline,
        stages: &facts.stages,
        pairs: &facts.pairs,
        cases: bars(CASES.iter().zip(facts.pairs.by_case)),
        differences: bars(facts.pairs.by_g.iter().map(|(g, n)| (*g, *n))),
        example: facts.example.as_ref().map(example),
        trainings: facts.metrics.iter().map(|(stage, rows)| Training { stage, charts: chart::charts(rows) }).collect(),
        scores: &facts.scores,
        tables: &facts.tables,
        diversity: facts.diversity.as_ref(),
        models: &facts.models,
    };
    template::write(path, "report.html", include_str!("report.html"), view)
}

fn bars<T>(counts: impl Iterator<Item = (T, u64)> + Clone) -> Vec<Bar<T>> {
    let total: u64 = counts.clone().map(|(_, count)| count).sum();
    let bar = |(of, count)| Bar { of, count, share: count as f64 / total.max(1) as f64 };
    counts.map(bar).collect()
}

fn example(pair: &Pair) -> Example<'_> {
    let line = |constraint| Line {
        constraint,
        chosen: under_both(constraint, constraint.chosen),
        rejected: under_both(constraint, constraint.rejected),
    };
    let query = pair.prompt.last().map_or("", |message| message.content.as_str());
    Example { pair, query, constraints: pair.constraints.iter().map(line).collect() }
}
