//! The card of an adapter: `README.md` beside it, with the front matter that Hugging Face's hub reads, exact settings, curves
//! (`curves.svg`), and the commands that serve it and make it again.

use std::collections::BTreeMap;
use std::path::Path;

use obvert_trainer::TrainSettings;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::report::{Chart, charts};
use super::{Error, template};
use crate::findings::Training;

/// What a card says.
#[derive(Clone, Debug, Default)]
pub struct ModelFacts {
    /// The adapter's name: the run's, with the stage's where several train.
    pub name: String,
    /// The base model's name.
    pub base_model: String,
    /// All settings of the training, the defaults among them: a JSON object.
    pub settings: Value,
    /// What became of the pairs.
    pub counts: Option<Training>,
    /// Values per update with TRL's names and `step`.
    pub metrics: Vec<BTreeMap<String, f64>>,
    /// The adapter's folder, as commands name it.
    pub adapter: String,
    /// The command line that trains it again.
    pub rerun: String,
    /// Name and text of the pipeline file, where there is one.
    pub pipeline: Option<(String, String)>,
}

/// What the template sees.
#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    base_model: &'a str,
    loss: String,
    settings: Vec<(String, String)>,
    counts: Option<&'a Training>,
    curves: bool,
    ends: Vec<End<'a>>,
    adapter: &'a str,
    rerun: &'a str,
    pipeline: Option<&'a (String, String)>,
    version: &'static str,
}

/// A metric at both ends of the training.
#[derive(Serialize)]
struct End<'a> {
    metric: &'a str,
    first: String,
    last: String,
}

/// The metrics of the table.
const SHOWN: [&str; 6] =
    ["loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "eval_loss"];

#[derive(Serialize)]
struct Curves {
    charts: Vec<Chart>,
}

/// All settings of a training, as a card lists them: a table of its own with what was left at its default filled in. Where it is
/// computed is none of them.
pub fn settings(training: &TrainSettings, more: &impl Serialize) -> Value {
    let table = |value: serde_json::Result<Value>| match value {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let mut all = table(serde_json::to_value(training));
    all.extend(table(serde_json::to_value(more)));
    let filled = json!({ "beta": training.beta(), "gamma": training.gamma(), "warmup_ratio": training.warmup_ratio() });
    all.extend(table(Ok(filled)));
    ["device", "total_steps", "model"].iter().for_each(|name| drop(all.shift_remove(*name)));
    Value::Object(all)
}

/// Writes card and curves into the adapter's folder.
///
/// # Errors
/// What the file system reports.
pub fn write(folder: &Path, facts: &ModelFacts) -> Result<(), Error> {
    let charts = charts(&facts.metrics);
    let curves = !charts.is_empty();
    if curves {
        template::write(
            &folder.join("curves.svg"),
            &[("curves.html", include_str!("model_card/curves.svg"))],
            Curves { charts },
        )?;
    }
    let mut settings = Vec::new();
    flatten("", &facts.settings, &mut settings);
    let view = View {
        name: &facts.name,
        base_model: &facts.base_model,
        loss: facts.settings["loss"].as_str().unwrap_or_default().into(),
        settings,
        counts: facts.counts.as_ref(),
        curves,
        ends: SHOWN.iter().filter_map(|metric| ends(metric, &facts.metrics)).collect(),
        adapter: &facts.adapter,
        rerun: &facts.rerun,
        pipeline: facts.pipeline.as_ref(),
        version: env!("CARGO_PKG_VERSION"),
    };
    template::write(&folder.join("README.md"), &[("card.md", include_str!("model_card/card.md"))], view)
}

/// Settings by their names as a pipeline has them: `replay.ratio`. What is not set is left out.
fn flatten(name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            let dot = if name.is_empty() { "" } else { "." };
            fields.iter().for_each(|(field, value)| flatten(&format!("{name}{dot}{field}"), value, into));
        }
        Value::String(text) => into.push((name.into(), text.clone())),
        other => into.push((name.into(), other.to_string())),
    }
}

fn ends<'a>(metric: &'a str, rows: &[BTreeMap<String, f64>]) -> Option<End<'a>> {
    let mut values = rows.iter().filter_map(|row| row.get(metric)).filter(|value| value.is_finite());
    let first = values.next()?;
    let last = values.next_back().unwrap_or(first);
    Some(End { metric, first: format!("{first:.4}"), last: format!("{last:.4}") })
}
