//! `report.html`: what a run did, on one self-contained page. No scripts, no network, nothing that needs colour.

mod chart;
mod comparison;
mod scored;
mod sets;

use std::collections::BTreeMap;
use std::path::Path;

use obvert_eval::table::{Row, Table};
use serde::Serialize;

use super::{Error, template};
use crate::benchmark::Benchmark;
use crate::diversity::Diversity;
use crate::findings::{SetOfPairs, Training};
use chart::overview::{Overview, overview};
pub(super) use chart::{Chart, charts};
use comparison::{Comparison, comparison};
use scored::{Scored, scored};
use sets::{Set, set};

/// The page, and the parts that it includes.
const PAGES: [template::Source<'static>; 7] = [
    ("page.html", include_str!("report/page.html")),
    ("evaluation.html", include_str!("report/evaluation.html")),
    ("training.html", include_str!("report/training.html")),
    ("pairs.html", include_str!("report/pairs.html")),
    ("examples.html", include_str!("report/examples.html")),
    ("stages.html", include_str!("report/stages.html")),
    ("cost.html", include_str!("report/cost.html")),
];
/// Curves of more stages than this are folded.
const MOST_OPEN: usize = 6;

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
    /// What each sink of pairs holds, by its stage.
    pub pairs: BTreeMap<String, SetOfPairs>,
    /// Values per logged step with TRL's names and `step`, as `metrics::read` gives them, by the stage that trains.
    pub metrics: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
    /// What became of the pairs, by the stage that trains.
    pub trainings: BTreeMap<String, Training>,
    /// One row per model that was examined, the base first, by the stage that scores.
    pub scores: BTreeMap<String, Vec<Row>>,
    /// Several runs side by side, by the stage that scores.
    pub tables: BTreeMap<String, Table>,
    /// What a reader must know of all the page.
    pub note: Option<String>,
    /// The scores of benchmarks, by the stage that scores.
    pub benchmarks: BTreeMap<String, Benchmark>,
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
    note: Option<&'a str>,
    elapsed: f64,
    pipeline: &'a str,
    stages: &'a [StageCount],
    pairs: u64,
    sets: Vec<Set<'a>>,
    overview: Overview<'a>,
    curves: Vec<Curves<'a>>,
    trainings: &'a BTreeMap<String, Training>,
    folded: bool,
    comparisons: Vec<Comparison<'a>>,
    scored: Vec<Scored<'a>>,
    benchmarks: &'a BTreeMap<String, Benchmark>,
    diversity: Option<&'a Diversity>,
    models: &'a [ModelUse],
}

/// The curves of one stage.
#[derive(Serialize)]
struct Curves<'a> {
    stage: &'a str,
    charts: Vec<Chart>,
}

/// Writes the page.
pub fn write(path: &Path, facts: &ReportFacts) -> Result<(), Error> {
    let curves = curves(facts);
    let view = View {
        css: include_str!("report/page.css"),
        name: &facts.name,
        date: &facts.date,
        note: facts.note.as_deref(),
        elapsed: facts.elapsed,
        pipeline: &facts.pipeline,
        stages: &facts.stages,
        pairs: facts.pairs.values().map(|set| set.summary.pairs).sum(),
        sets: facts.pairs.iter().map(|(stage, of)| set(stage, of)).collect(),
        overview: overview(&facts.metrics),
        folded: curves.len() > MOST_OPEN,
        curves,
        trainings: &facts.trainings,
        comparisons: comparisons(facts),
        scored: facts.scores.iter().filter(|(_, rows)| !rows.is_empty()).map(|(s, rows)| scored(s, rows)).collect(),
        benchmarks: &facts.benchmarks,
        diversity: facts.diversity.as_ref(),
        models: &facts.models,
    };
    template::write(path, &PAGES, view)
}

/// Of the stages that have logged something.
fn curves(facts: &ReportFacts) -> Vec<Curves<'_>> {
    let curves = facts.metrics.iter().map(|(stage, rows)| Curves { stage, charts: charts(rows) });
    curves.filter(|curves| !curves.charts.is_empty()).collect()
}

/// Of the stages that have compared something.
fn comparisons(facts: &ReportFacts) -> Vec<Comparison<'_>> {
    let tables = facts.tables.iter().filter(|(_, table)| !table.lines.is_empty());
    tables.map(|(stage, table)| comparison(stage, table)).collect()
}
