//! What `explain` and `trace` are about: a record of a run, and all that there is of it.

mod pair;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obvert_engine::pipeline::{Plan, StagePlan};
use obvert_engine::{Error, Looked, Registry, Wanted, mentions};
use serde_json::Value;

use super::{PIPELINE, Reading, Refused, top};
use pair::Pair;

/// Arguments of verbs about a record.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file, `pipeline.toml` where none is named; and what it is about: the id of a row, a dialogue, a pair, or any other
    /// text that a record has as a whole; or a record's own id, as the log and `rejected.jsonl` have it.
    #[arg(num_args = 0..=2, value_names = ["PIPELINE", "ID"])]
    words: Vec<String>,
    #[command(flatten)]
    reading: Reading,
    /// Folder of the results; `runs/NAME` by default.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A record of a run.
pub(super) struct About {
    pub(super) id: String,
    pub(super) plan: Plan,
    pub(super) registry: Registry,
    pub(super) out: PathBuf,
}

impl Arguments {
    /// The pipeline file, and what is asked about.
    fn words(&self) -> Result<(&str, &str), Refused> {
        let is_file = |word: &str| word.ends_with(".toml") || Path::new(word).is_file();
        let refused = |cause: &str| Err(Refused(format!("error: {cause}")));
        match &self.words[..] {
            [] => refused("the id of a record is missing"),
            [word] if is_file(word) => refused(&format!("the id of a record is missing behind `{word}`")),
            [first, second, ..] if is_file(second) && !is_file(first) => {
                refused(&format!("the pipeline comes first: did you mean `{second} {first}`?"))
            }
            [.., id] if id.trim().is_empty() => refused("the id of a record is empty"),
            [id] => Ok((PIPELINE, id)),
            [pipeline, id, ..] => Ok((pipeline, id)),
        }
    }

    /// The record, of a run that was there.
    pub(super) fn open(&self) -> anyhow::Result<About> {
        let (pipeline, id) = self.words()?;
        let (plan, registry) = self.reading.plan(Path::new(pipeline))?;
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(&plan.name));
        top::board(&out)?;
        Ok(About { id: id.to_owned(), plan, registry, out })
    }
}

impl About {
    /// What mentions it; of a pair all that it was made of, too.
    pub(super) fn look(&self) -> anyhow::Result<Looked> {
        let id = self.id.clone();
        let found = self.look_for(Arc::new(move |own, record| own == id || mentions(record, &id)))?;
        match found.records.iter().find_map(|(_, record)| Pair::of(record, &self.id)) {
            Some(pair) => self.behind(pair, &found.records),
            None => Ok(found),
        }
    }

    /// What is wanted of the run.
    pub(super) fn look_for(&self, wanted: Wanted) -> anyhow::Result<Looked> {
        let looked = obvert_engine::look(self.plan.clone(), &self.registry, &self.out, wanted);
        let Err(error @ Error::Taken(_)) = looked else { return Ok(looked?) };
        Err(Refused(format!("error: {error}; `explain` and `trace` want it to be over, or interrupted")).into())
    }

    /// Why nothing was found.
    pub(super) fn unknown(&self) -> Refused {
        let cause =
            "no record has this id or text; what depends on a training, or on a call that was not made, is not seen";
        Refused(format!("error: `{}`: {cause}", self.id))
    }

    /// What a pair was made of, where some records are about it.
    fn behind(&self, pair: Pair, about: &[(String, Value)]) -> anyhow::Result<Looked> {
        let wanted = pair.clone();
        let mut found = self.look_for(Arc::new(move |_, record| wanted.needs(record)))?;
        let behind = self.stages_behind(about);
        found.records.retain(|(stage, _)| behind.contains(stage));
        found.calls.retain(|call| behind.contains(&call.stage) && pair.asks(call));
        Ok(found)
    }

    /// The stages that make some records, and all that these are made of.
    fn stages_behind(&self, about: &[(String, Value)]) -> BTreeSet<String> {
        let stages = &self.plan.stages;
        let make = |stage: &&StagePlan| about.iter().any(|(name, _)| *name == stage.name);
        let upstream = stages.iter().filter(make).flat_map(|stage| self.plan.upstream(stage));
        let names = upstream.filter_map(|at| Some(stages.get(at)?.name.clone()));
        names.chain(about.iter().map(|(name, _)| name.clone())).collect()
    }
}

/// What tells an item from others: its dialogue and turn, its id, or the beginning of its text.
pub(super) fn label(item: &Value) -> String {
    let text = |key: &str| find(item, key).map(|value| value.to_string().trim_matches('"').to_string());
    match (text("dialogue"), text("turn").filter(|turn| turn.parse::<u32>().is_ok()), text("id")) {
        (Some(dialogue), Some(turn), _) => format!("dialogue {dialogue} turn {turn}"),
        (Some(dialogue), None, _) => format!("dialogue {dialogue}"),
        (None, _, Some(id)) => id,
        _ => item.to_string().chars().take(60).collect(),
    }
}

/// The first plain value under a key, the outermost first.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let inner: Vec<&Value> = match value {
        Value::Object(fields) => match fields.get(key) {
            Some(plain @ (Value::String(_) | Value::Number(_))) => return Some(plain),
            _ => fields.values().collect(),
        },
        Value::Array(values) => values.iter().collect(),
        _ => return None,
    };
    inner.into_iter().find_map(|value| find(value, key))
}
