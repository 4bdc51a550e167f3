//! `run --plan`: what a run is going to do and to cost, from a sample of a few rows; and at its end, what it did against that.

use std::fs;
use std::path::Path;

use anyhow::Context;
use obvert_engine::pipeline::Plan;
use obvert_engine::{Options, Outcome};
use obvert_live::figures::Figures;
use obvert_stages::output::{duration, word, write_atomically};
use serde::{Deserialize, Serialize};

use super::expected::{Expected, Use, made};
use super::renewed::{Place, Read};
use crate::verbs::preview;
use crate::verbs::tapped::{self, Training};

/// Rows that are tried of each source that others are made of.
const SAMPLE: u64 = 3;
const FILE: &str = "state/plan.json";

/// What was expected, and of what.
#[derive(Serialize, Deserialize)]
struct Kept {
    pipeline: String,
    expected: Expected,
}

/// Tries the sample, prints what to expect, and keeps it for the end of the run.
pub(super) fn run(read: &Read, place: &Place, out: &Path) -> anyhow::Result<()> {
    // Of its own: the folder may hold a run that is over.
    let folder = out.join("state/plan");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let totals = totals(read, &folder)?;
    let mut sample = read.plan.clone();
    preview::limit(&mut sample, &read.registry, SAMPLE, |stage| !is_beside(&read.plan, stage));
    // What it pays for is the run's, and what is paid for already is not paid again.
    let mut options = Options::new(folder);
    options.memo = out.to_owned();
    let tapped = tapped::run(&sample, &read.registry, &options, Training::None)?;
    let mut expected = Expected::of(&read.plan, &read.registry, &totals, &tapped.outcome);
    let pipeline = identity(read, place);
    // Calls that an earlier plan has made take no time.
    expected.seconds = expected.seconds.or_else(|| kept(out, &pipeline).and_then(|before| before.seconds));
    print(&expected, &tapped.outcome);
    if let Some((stage, reason, _)) = tapped.rejected.first() {
        println!("\nof the sample {} items were set aside, the first one by {stage}: {reason}", tapped.rejected.len());
    }
    println!("\nrun it with  {} --out {}", place.command(), word(&out.to_string_lossy()));
    Ok(write_atomically(&out.join(FILE), &serde_json::to_vec(&Kept { pipeline, expected })?)?)
}

/// What tells what was planned from something else.
fn identity(read: &Read, place: &Place) -> String {
    format!("{}\n{:?}", read.text, place.set)
}

/// What was expected of this pipeline, if that was asked for.
fn kept(out: &Path, pipeline: &str) -> Option<Expected> {
    let kept: Kept = serde_json::from_slice(&fs::read(out.join(FILE)).ok()?).ok()?;
    (kept.pipeline == pipeline).then_some(kept.expected)
}

/// Rows of each source, as far as it is read.
fn totals(read: &Read, folder: &Path) -> anyhow::Result<Vec<(String, i64)>> {
    let mut plan = read.plan.clone();
    plan.stages.retain(|stage| stage.from.is_empty());
    let outcome = obvert_engine::run(plan, &read.registry, &Options::new(folder.join("rows")), |_| ())?;
    Ok(outcome.stages.into_iter().map(|stage| (stage.name, stage.outputs)).collect())
}

/// Whether a source is read beside others only: then all of it is there in the sample, too.
fn is_beside(plan: &Plan, source: usize) -> bool {
    let beside = plan.stages.iter().any(|stage| stage.with.contains(&source));
    beside && !plan.stages.iter().any(|stage| stage.from.contains(&source))
}

fn print(expected: &Expected, sample: &Outcome) {
    let tried: u64 = sample.stages.iter().map(|stage| stage.calls).sum();
    println!(
        "expected, from {SAMPLE} rows of each source that others are made of ({tried} calls were made for it; the run does not make them again):\n"
    );
    let rows = expected.records.iter().map(|(name, records)| vec![name.clone(), records.to_string()]).collect();
    Figures { columns: vec!["stage", "records"], rows }.print();
    if expected.uses.is_empty() {
        println!("\nno model is asked");
        return;
    }
    println!();
    let rows = expected.uses.iter().chain([&expected.all()]).map(Use::row).collect();
    Figures { columns: vec!["model", "calls", "tokens in", "tokens out", "money"], rows }.print();
    if let Some([least, as_sample]) = expected.seconds.map(|seconds| seconds.map(duration)) {
        println!(
            "\n{least} if models take all calls that they may at once, {as_sample} as for the sample; training is not in it"
        );
    }
}

/// Prints what a run did against what was expected of it, if that was asked for. A part of a run is not held against the whole.
pub(super) fn compare(out: &Path, read: &Read, place: &Place, outcome: &Outcome) {
    let Some(expected) = kept(out, &identity(read, place)).filter(|_| !outcome.drained) else { return };
    let row =
        |(name, records): &(String, u64)| vec![name.clone(), records.to_string(), made(outcome, name).to_string()];
    println!("\nagainst the plan (what was known from an earlier run counts, too)");
    Figures { columns: vec!["records", "planned", "made"], rows: expected.records.iter().map(row).collect() }.print();
    let (planned, did) = (expected.all().row(), Use::of_run(&read.plan, outcome).row());
    let names = ["calls", "tokens in", "tokens out", "money"].into_iter().zip(planned.into_iter().zip(did).skip(1));
    let mut rows: Vec<Vec<String>> = names.map(|(name, (planned, did))| vec![name.into(), planned, did]).collect();
    if let Some([least, as_sample]) = expected.seconds {
        let span = format!("{} to {}", duration(least), duration(as_sample));
        rows.push(vec!["time (planned: without training)".into(), span, duration(outcome.elapsed.as_secs_f64())]);
    }
    println!();
    Figures { columns: vec!["models", "planned", "did"], rows }.print();
}
