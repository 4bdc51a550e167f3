//! `explain`: for a record, which calls it asks for, whether the memo has them, and if not, what differs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use obvert_engine::model::Explanation;
use obvert_engine::pipeline::Plan;
use obvert_engine::{Explained, Registry, mentions};
use serde_json::Value;

use super::{PIPELINE, Reading, Refused};

/// Arguments of `explain`, and of others about a record.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file, `pipeline.toml` where none is named; and what it is about: the id of a row, a dialogue, a pair, or any other
    /// text that a record has as a whole; or a record's own id, as the log and `rejected.jsonl` have it.
    #[arg(num_args = 1..=2, required = true, value_names = ["PIPELINE", "ID"])]
    words: Vec<String>,
    #[command(flatten)]
    reading: Reading,
    /// Folder of the results; `runs/NAME` by default.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Arguments {
    /// The pipeline file, and what is asked about.
    fn words(&self) -> (&str, &str) {
        match &self.words[..] {
            [pipeline, id, ..] => (pipeline, id),
            words => (PIPELINE, words.first().map_or("", String::as_str)),
        }
    }

    /// What is asked about.
    pub(super) fn id(&self) -> &str {
        self.words().1
    }

    /// The plan, the registry, and the folder of a run that was there.
    pub(super) fn open(&self) -> anyhow::Result<(Plan, Registry, PathBuf)> {
        let (pipeline, _) = self.words();
        let (plan, registry) = self.reading.plan(Path::new(pipeline))?;
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(&plan.name));
        let missing = || Refused(format!("error: {}: no run has been here", out.display()));
        anyhow::ensure!(out.join("state/memo").is_dir(), missing());
        Ok((plan, registry, out))
    }
}

/// Explains the calls of a record.
pub fn explain(arguments: &Arguments) -> anyhow::Result<()> {
    let (plan, registry, out) = arguments.open()?;
    let id = arguments.id().to_owned();
    let wanted = Arc::new(move |record: &str, item: &Value| record == id || mentions(item, &id));
    let found = obvert_engine::explain(plan, &registry, &out, wanted)?;
    let mut shown = BTreeSet::new();
    for explained in &found {
        let line = line(explained);
        // The same call of the same record, by another row.
        if shown.insert(line.clone()) {
            println!("{line}");
        }
    }
    let new = found.iter().filter(|explained| matches!(explained.explanation, Explanation::New(_))).count();
    match found.len() {
        0 => println!("no record that mentions `{}` asks a model for anything", arguments.id()),
        all => println!("{all} calls, {} in the memo, {new} to be made", all - new),
    }
    if new > 0 {
        println!("what depends on a call that is to be made is not shown");
    }
    Ok(())
}

pub(super) fn line(explained: &Explained) -> String {
    let Explained { stage, item, model, sample, explanation, .. } = explained;
    format!("{stage}  {}  {model} sample {sample}: {}", label(item), reason(explanation))
}

fn reason(explanation: &Explanation) -> String {
    match explanation {
        Explanation::Known(origin) => {
            format!("in the memo since {}, asked by `{}` of `{}`", time(origin.made), origin.stage, origin.pipeline)
        }
        Explanation::New(None) => "to be made; nothing was asked in its place before".into(),
        Explanation::New(Some((differ, made))) => {
            format!("to be made; the call of {} in its place differs in {}", time(*made), differ.join(", "))
        }
    }
}

/// Unix time as people read it.
pub(super) fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".into(), |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string())
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
pub(super) fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
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
