//! `test`: the `[[test]]` tables of a pipeline, each a run of its own on rows and replies that it gives.

use std::path::Path;
use std::sync::Arc;

use obvert_api::record::standard;
use obvert_engine::pipeline::{Plan, TestPlan};
use obvert_engine::registry::{Entry, Row, Rows, Source};
use obvert_engine::{Options, Registry};
use obvert_stages::Findings;
use serde_json::{Value, json};

use super::tapped::{self, Tapped, Training};
use super::{Refused, Trust};

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file, `pipeline.toml` where none is named; and, for some of the tests only, what is in their names.
    #[arg(num_args = 0..=2, value_names = ["PIPELINE", "FILTER"])]
    words: Vec<String>,
    /// Override a value: stage.key=value.
    #[arg(long)]
    set: Vec<String>,
    /// Load no plugin that is not pinned by its hash (see `obvert lock`).
    #[arg(long)]
    locked: bool,
}

impl Arguments {
    /// The pipeline file, and what is in the names of the tests that are wanted.
    fn words(&self) -> (&Path, Option<&str>) {
        let here = Path::new(super::PIPELINE);
        match &self.words[..] {
            [] => (here, None),
            [word] if here.exists() && !Path::new(word).is_file() && !word.ends_with(".toml") => (here, Some(word)),
            [pipeline, filter @ ..] => (Path::new(pipeline), filter.first().map(String::as_str)),
        }
    }
}

/// Runs them; fails if one does.
pub fn test(arguments: &Arguments) -> anyhow::Result<()> {
    let trust = Trust::of(arguments.locked);
    let (pipeline, filter) = arguments.words();
    let (_, _, plan, registry) = super::resolve(pipeline, &arguments.set, &Findings::default(), trust)?;
    let wanted = |test: &&TestPlan| filter.is_none_or(|filter| test.name.contains(filter));
    let tests: Vec<&TestPlan> = plan.tests.iter().filter(wanted).collect();
    if tests.is_empty() {
        let none = if filter.is_some() { "no such [[test]]" } else { "no [[test]]" };
        return Err(Refused(format!("error: {} has {none}", pipeline.display())).into());
    }
    let mut failed = 0;
    for test in &tests {
        let wrong = run(test, &plan, &registry).unwrap_or_else(|error| vec![format!("{error:#}")]);
        println!("{} {}", if wrong.is_empty() { "ok    " } else { "FAILED" }, test.name);
        failed += usize::from(!wrong.is_empty());
        let at = &test.location;
        wrong.iter().for_each(|wrong| println!("  {}:{}: {wrong}", at.file.display(), at.line));
    }
    anyhow::ensure!(failed == 0, "{failed} of {} tests failed", tests.len());
    Ok(())
}

/// What is not as the test says.
fn run(test: &TestPlan, plan: &Plan, registry: &Registry) -> anyhow::Result<Vec<String>> {
    let (mut plan, mut registry) = (plan.clone(), registry.clone());
    for stage in plan.stages.iter_mut().filter(|stage| stage.from.is_empty()) {
        let rows = test.rows.iter().find(|(name, _)| *name == stage.name).map(|(_, rows)| rows.clone());
        let Some(record) = registry.entry(&stage.kind).and_then(|entry| entry.output.clone()) else { continue };
        (stage.kind, stage.settings) = (format!("given {}", stage.name), json!({}));
        registry.add(&stage.kind, given(&record, rows.unwrap_or_default())?);
    }
    for model in &mut plan.models {
        let given = test.models.iter().find(|(name, _)| *name == model.name).map(|(_, settings)| settings.clone());
        if given.is_some() || model.kind != "scripted" {
            // Without rules it answers nothing: no test calls a model that is no script.
            (model.kind, model.settings) = ("scripted".into(), given.unwrap_or_else(|| json!({ "rule": [] })));
        }
    }
    let folder = tempfile::tempdir()?;
    let options = Options::new(folder.path().to_owned());
    Ok(compare(test, &tapped::run(&plan, &registry, &options, Training::LeftOut)?))
}

/// Rows of a test as a source.
struct Given(Vec<Row>);

fn given(record: &str, rows: Vec<Value>) -> anyhow::Result<Entry> {
    let standard = standard(record)?;
    let row = |(at, row): (usize, &Value)| {
        let text = row.to_string();
        let key = row.get("id").filter(|id| id.is_string() || id.is_number());
        let key = key.map_or_else(|| format!("row {at}"), Value::to_string);
        Row { key: key.into_bytes(), record: (standard.from_json)(text.as_bytes()).map_err(|error| (text, error.0)) }
    };
    let rows = Arc::new(Given(rows.iter().enumerate().map(row).collect()));
    let open = Arc::new(move |_: &Value, _| Ok(Arc::clone(&rows) as Arc<dyn Source>));
    let mut entry = Entry::source::<obvert_api::Json>(json!({ "type": "object" }), open);
    (entry.output, entry.to_json) = (Some(record.to_owned()), Some(standard.to_json));
    Ok(entry)
}

impl Source for Given {
    fn rows(&self) -> Result<Rows, String> {
        Ok(Box::new(self.0.clone().into_iter()))
    }

    fn stamp(&self) -> u64 {
        0
    }
}

fn compare(test: &TestPlan, tapped: &Tapped) -> Vec<String> {
    let mut wrong = Vec::new();
    for (stage, expected) in &test.records {
        let Some((_, made)) = tapped.records.iter().find(|(name, _)| name == stage) else {
            wrong.push(format!("`{stage}` is not run in a test: sinks, and what comes after them, are left out"));
            continue;
        };
        wrong.extend(unmatched(made, expected, contains).map(|(what, row)| format!("`{stage}` {what} {row}")));
    }
    for (stage, expected) in &test.rejected {
        let of = tapped.rejected.iter().filter(|(name, _, _)| name == stage);
        let reasons: Vec<Value> = of.map(|(_, reason, _)| json!(reason)).collect();
        let expected: Vec<Value> = expected.iter().map(|reason| json!(reason)).collect();
        let holds = |reason: &Value, part: &Value| {
            reason.as_str().unwrap_or_default().contains(part.as_str().unwrap_or_default())
        };
        let of = |what| if what == "makes" { "sets aside with" } else { "does not set aside with" };
        wrong.extend(unmatched(&reasons, &expected, holds).map(|(what, row)| format!("`{stage}` {} {row}", of(what))));
    }
    for (stage, reason, item) in &tapped.rejected {
        if test.rejected.iter().all(|(name, _)| name != stage) {
            wrong.push(format!("`{stage}` sets aside with {reason:?}: {item}"));
        }
    }
    wrong
}

/// Rows that nothing expected, and those that were expected and are not there, where each stands for one of the other side and as many
/// as can do.
fn unmatched<'a>(
    made: &'a [Value],
    expected: &'a [Value],
    holds: impl Fn(&Value, &Value) -> bool,
) -> impl Iterator<Item = (&'static str, &'a Value)> {
    let fits: Vec<Vec<usize>> =
        expected.iter().map(|row| (0..made.len()).filter(|at| holds(&made[*at], row)).collect()).collect();
    let mut taken: Vec<Option<usize>> = vec![None; made.len()];
    let missing: Vec<_> =
        (0..expected.len()).filter(|row| !place(*row, &fits, &mut taken, &mut vec![false; made.len()])).collect();
    let left = made.iter().zip(taken).filter(|(_, taken)| taken.is_none()).map(|(made, _)| ("makes", made));
    left.chain(missing.into_iter().map(|row| ("does not make", &expected[row])))
}

/// Finds a row for what is expected; who has it goes to another, if there is one.
fn place(row: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &at in &fits[row] {
        if std::mem::replace(&mut tried[at], true) {
            continue;
        }
        if taken[at].is_none_or(|other| place(other, fits, taken, tried)) {
            taken[at] = Some(row);
            return true;
        }
    }
    false
}

/// Whether a record has all that is expected of it: of objects the fields that are named.
fn contains(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| found.get(key).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| contains(found, expected))
        }
        _ => found == expected,
    }
}
