//! `multi-if-scores`, `sysbench-scores`: sinks in which a benchmark's rows and answers to them become the benchmark's own scores.
//!
//! Both come in as JSON: the rows as the benchmark's files have them, the answers as `obvert eval` reads them, whose scores are the same.

mod multi_if;
mod sysbench;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use obvert_api::erased::decode;
use obvert_api::record::Response;
use obvert_api::{Error, Json, Record};
use obvert_engine::registry::Entry;
use obvert_engine::{Change, Registry, RunContext, Settled, View};
use obvert_eval::Estimate;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::findings::Findings;
use crate::method::Methods;

/// The sinks have no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

/// What a benchmark says of models.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Benchmark {
    /// Its name.
    pub title: &'static str,
    /// What its scores are.
    pub terms: &'static str,
    /// The scores in short, and then in parts.
    pub grids: Vec<Grid>,
    /// What is to be known of the figures.
    pub notes: Vec<String>,
}

/// Figures by row and column.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Grid {
    /// What they are.
    pub caption: String,
    /// What a row is of.
    pub head: &'static str,
    /// What stands in each column.
    pub columns: Vec<String>,
    /// The rows with their names; none where there is no such figure.
    pub rows: Vec<(String, Vec<Option<Cell>>)>,
}

/// A share, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The share.
    pub value: f64,
    /// Its 95 % confidence interval, where it is known.
    pub interval: Option<(f64, f64)>,
}

impl From<Estimate> for Cell {
    fn from(Estimate { value, low, high }: Estimate) -> Cell {
        Cell { value, interval: Some((low, high)) }
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Cell { value, interval: None }
    }
}

type ByModel<S> = BTreeMap<String, S>;
/// The scores of each model behind its name, the base first.
type Named<'s, S> = [(String, &'s S)];

/// Rows and answers of a benchmark, and how its scorer counts them.
trait Scorer: Send + 'static {
    /// The stage.
    const STAGE: &'static str;
    /// The field that answers have and rows have not.
    const ANSWER: &'static str;
    type Row: DeserializeOwned;
    type Answer: DeserializeOwned;
    type Scores: Serialize;

    /// The file that the scores go to.
    const FILE: &'static str;

    /// The scores by model.
    fn scores(rows: &[Self::Row], answers: &[Self::Answer]) -> Result<ByModel<Self::Scores>, obvert_eval::Error>;

    /// As people read them; they are of so many rows.
    fn shown(scores: &Named<Self::Scores>, rows: usize) -> Benchmark;

    /// What is to be known of a model's scores, which are of so many rows.
    fn notes(model: &str, scores: &Self::Scores, rows: usize) -> Vec<String>;
}

/// Models beside each other in a grid: what fits a sheet of paper.
const MOST: usize = 5;

/// Shares of constraints by their type, of each model.
fn by_type(caption: &str, models: &[(String, BTreeMap<String, f64>)]) -> Vec<Grid> {
    let types: BTreeSet<&String> = models.iter().flat_map(|(_, shares)| shares.keys()).collect();
    let grid = |models: &[(String, BTreeMap<String, f64>)]| {
        let cells = |kind| models.iter().map(|(_, shares)| shares.get(kind).map(|share| Cell::from(*share))).collect();
        Grid {
            caption: caption.to_owned(),
            head: "Type",
            columns: models.iter().map(|(model, _)| model.clone()).collect(),
            rows: types.iter().map(|kind| ((*kind).clone(), cells(*kind))).collect(),
        }
    };
    models.chunks(MOST).map(grid).collect()
}

/// What has come in: rows and answers, as often as they are there.
struct Sink<S> {
    path: PathBuf,
    stage: String,
    methods: Methods,
    findings: Findings,
    known: BTreeMap<Vec<u8>, isize>,
    scorer: std::marker::PhantomData<S>,
}

pub(crate) fn register(registry: &mut Registry, findings: &Findings) {
    add::<multi_if::MultiIf>(registry, findings);
    add::<sysbench::Sysbench>(registry, findings);
}

fn add<S: Scorer>(registry: &mut Registry, findings: &Findings) {
    let findings = findings.clone();
    let open = move |_: &Value, context: &RunContext| {
        let (path, stage) = (context.folder().join(S::FILE), context.stage.clone());
        let (methods, findings) = (Methods::of(&context.plan, None), findings.clone());
        let (known, scorer) = (BTreeMap::new(), std::marker::PhantomData::<S>);
        Ok(Box::new(Sink { path, stage, methods, findings, known, scorer }) as Box<dyn View>)
    };
    registry.add(S::STAGE, Entry::view(Json::NAME, schemars::schema_for!(Settings).to_value(), Arc::new(open)));
}

/// Benchmarks take one answer to a turn.
pub(crate) fn only_answer(response: &Response) -> Result<(), Error> {
    match response.sample {
        0 => Ok(()),
        more => Err(Error(format!("a benchmark takes one answer to a turn: this is sample {more}; set `samples = 1`"))),
    }
}

/// A row of the benchmark or an answer to one.
enum Known<S: Scorer> {
    Row(S::Row),
    Answer(S::Answer),
}

fn read<S: Scorer>(record: &[u8]) -> Result<Known<S>, String> {
    let Json(row) = decode(record).map_err(|e| e.0)?;
    match row.get(S::ANSWER) {
        Some(_) => serde_json::from_value(row).map(Known::Answer).map_err(|e| format!("an answer: {e}")),
        None => serde_json::from_value(row).map(Known::Row).map_err(|e| e.to_string()),
    }
}

impl<S: Scorer> View for Sink<S> {
    fn accepts(&self, record: &[u8]) -> Result<(), String> {
        read::<S>(record).map(drop)
    }

    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for Change { record, diff, .. } in changes {
            *self.known.entry(record.to_vec()).or_default() += diff;
        }
        self.known.retain(|_, count| *count != 0);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let (mut rows, mut answers) = (Vec::new(), Vec::new());
        for record in self.known.keys() {
            match read::<S>(record)? {
                Known::Row(row) => rows.push(row),
                Known::Answer(answer) => answers.push(answer),
            }
        }
        let scores = S::scores(&rows, &answers).map_err(|e| e.to_string())?;
        let text = serde_json::to_vec_pretty(&scores).map_err(|e| e.to_string())?;
        crate::output::write_atomically(&self.path, &text).map_err(|e| e.to_string())?;
        let named = self.named(&scores);
        let mut shown = S::shown(&named, rows.len());
        shown.notes = named.iter().flat_map(|(model, scores)| S::notes(model, scores, rows.len())).collect();
        if scores.is_empty() {
            (shown.grids, shown.notes) = (Vec::new(), vec!["nothing was answered".into()]);
        }
        self.findings.lock().benchmarks.insert(self.stage.clone(), shown);
        Ok(())
    }
}

impl<S: Scorer> Sink<S> {
    /// By method, where that has made one model.
    fn named<'s>(&self, scores: &'s ByModel<S::Scores>) -> Vec<(String, &'s S::Scores)> {
        let mut models: Vec<(&String, &S::Scores)> = scores.iter().collect();
        models.sort_by_key(|(model, _)| self.methods.rank(version(model)));
        let method = |model: &str| self.methods.method(version(model)).to_owned();
        let methods: Vec<String> = models.iter().map(|(model, _)| method(model)).collect();
        let alone = |of: &String| methods.iter().filter(|method| *method == of).count() == 1;
        let name = |(method, (model, _)): (&String, &(&String, _))| {
            if alone(method) { method.clone() } else { (*model).clone() }
        };
        let names: Vec<String> = methods.iter().zip(&models).map(name).collect();
        names.into_iter().zip(models).map(|(name, (_, scores))| (name, scores)).collect()
    }
}

/// That of the adapter of a model which goes by both names.
fn version(model: &str) -> &str {
    model.split_once('@').map_or(model, |(_, version)| version)
}

#[cfg(test)]
mod tests;
