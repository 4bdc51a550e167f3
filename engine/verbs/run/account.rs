//! The account at the end of a run: one pair, what went in and came out, scores, and what to do next.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use obvert_engine::model::{ByStage, Usage};
use obvert_engine::{Outcome, StageCount};
use obvert_eval::table::Row;
use obvert_live::figures::{Figures, money};
use obvert_stages::output;
use obvert_stages::{Benchmark, Cell, Found, Grid, Training};

/// Columns of the terminal that one pair takes.
const WIDTH: usize = 100;

/// Prints it.
pub(super) fn print(pipeline: &Path, out: &Path, outcome: &Outcome, found: &Found) {
    if let Some(pair) = found.pairs.values().find_map(|set| set.examples.first()) {
        println!("\nOne pair\n{}", output::side_by_side(pair, WIDTH));
    }
    stages(&outcome.stages, out);
    models(&outcome.models);
    pairs(found);
    trainings(&found.trainings);
    found.scores.iter().for_each(|(stage, examined)| scores(stage, &examined.rows));
    found.benchmarks.values().for_each(benchmark);
    println!("\n{:.1} s; everything is in {}", outcome.elapsed.as_secs_f64(), out.display());
    println!("look at  {}", out.join("report.html").display());
    if let Some(set) = found.pairs.values().find(|set| set.summary.pairs > 0) {
        println!("try      obvert train --model FOLDER_OR_GGUF --pairs {} --out DIR", set.folder.display());
    }
    if outcome.drained {
        println!("drained: what was not let in is left; run the same command again to go on with it");
    }
    println!("or       edit an input of {} and run it again: what does not depend on it is kept", pipeline.display());
}

/// `in = done + rejected` in every row: nothing is lost on the way.
fn stages(stages: &[StageCount], out: &Path) {
    let row = |stage: &StageCount| {
        let StageCount { inputs, done, rejected, outputs, calls, memo_hits, .. } = stage;
        let counts = [inputs, done, rejected, outputs].map(i64::to_string).into_iter();
        let counts = counts.chain([calls, memo_hits].map(u64::to_string));
        std::iter::once(stage.name.clone()).chain(counts).collect()
    };
    let columns = vec!["stage", "in", "done", "rejected", "records", "calls", "memo"];
    Figures { columns, rows: stages.iter().map(row).collect() }.print();
    let rejected: i64 = stages.iter().map(|stage| stage.rejected).sum();
    if rejected > 0 {
        println!("\n{rejected} items were set aside, each with its reason in {}", out.join("rejected.jsonl").display());
    }
}

/// Says what was asked of models by a run that has not come to its end.
pub(super) fn asked(of: impl Iterator<Item = (String, ByStage)>) {
    let figures = paid(&of.collect::<Vec<_>>());
    let lines = figures.iter().flat_map(Figures::lines);
    // Whoever reads it may have gone.
    lines.for_each(|line| drop(writeln!(std::io::stderr(), "{line}")));
}

fn models(models: &[(String, ByStage)]) {
    if let Some(figures) = paid(models) {
        println!();
        figures.print();
    }
}

/// What was asked of models in this run, where anything was paid.
fn paid(models: &[(String, ByStage)]) -> Option<Figures<'static>> {
    let asked = models.iter().flat_map(|(name, stages)| stages.iter().map(move |(stage, usage)| (name, stage, usage)));
    let paid = asked.filter(|(_, _, usage)| usage.calls + usage.failures > 0).map(|(name, stage, usage)| {
        let Usage { calls, failures, prompt_tokens, reply_tokens, cost, .. } = usage;
        let counts = [calls, failures, prompt_tokens, reply_tokens].map(u64::to_string);
        let label = format!("{name}, for {stage}");
        std::iter::once(label).chain(counts).chain([money(*cost)]).collect()
    });
    let rows: Vec<Vec<String>> = paid.collect();
    let columns = vec!["model", "calls", "failed", "tokens in", "tokens out", "money"];
    (!rows.is_empty()).then_some(Figures { columns, rows })
}

fn pairs(found: &Found) {
    for (stage, set) in found.pairs.iter().filter(|(_, set)| set.summary.pairs > 0) {
        let pairs = &set.summary;
        // The only sink goes without saying.
        let of = if found.pairs.len() > 1 { format!(" of {stage}") } else { String::new() };
        let cases = pairs.by_case.map(|count| count.to_string()).join("/");
        let by_g: Vec<String> = pairs.by_g.iter().map(|(g, count)| format!("{g}:{count}")).collect();
        let (all, unordered) = (pairs.pairs, pairs.unordered);
        println!("\npairs{of} {all} ({unordered} unordered), cases 1 to 6: {cases}, by g: {}", by_g.join(" "));
    }
}

/// How far each training came, and what became of pairs that were not trained on as they are.
fn trainings(trainings: &BTreeMap<String, Training>) {
    if trainings.is_empty() {
        return;
    }
    let row = |(stage, of): (&String, &Training)| {
        let counts = [of.unused, of.shortened, of.skipped.pairs].map(|count| count.to_string());
        [stage.clone(), format!("{}/{}", of.updates, of.planned)].into_iter().chain(counts).collect()
    };
    println!();
    let columns = vec!["training", "updates", "left over", "shortened", "skipped"];
    Figures { columns, rows: trainings.iter().map(row).collect() }.print();
    for (stage, Training { skipped, .. }) in trainings.iter().filter(|(_, training)| training.skipped.pairs > 0) {
        println!("{stage} skipped {} pairs, the first one {}", skipped.pairs, skipped.first);
    }
    let short = trainings.iter().filter(|(_, training)| training.updates < training.planned);
    let short: Vec<&str> = short.map(|(stage, _)| stage.as_str()).collect();
    if !short.is_empty() {
        println!("too few pairs came for all updates of {}", short.join(", "));
    }
}

fn scores(stage: &str, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let label = |row: &Row| match (rows.len(), row.method.as_str()) {
        // `base` beside the versions of one adapter is an examination before and after.
        (2, "base") => "base (before)".to_owned(),
        (2, _) if rows[0].method == "base" => "trained (after)".to_owned(),
        (_, "") => row.model.clone(),
        (_, method) => method.to_owned(),
    };
    let width = rows.iter().map(|row| label(row).len()).max().unwrap_or_default().max(16);
    println!("\n{stage:<width$} {:>7} {:>7} {:>7} {:>7}", "CSR", "ISR", "SSR", "turns");
    for row in rows {
        let of = &row.scores;
        println!("{:<width$} {:>7.3} {:>7.3} {:>7.3} {:>7}", label(row), of.csr, of.isr, of.ssr, of.turns);
    }
}

/// Its scores in short.
fn benchmark(of: &Benchmark) {
    println!();
    if let Some(grid) = of.grids.first() {
        in_short(of.title, grid);
    }
    of.notes.iter().for_each(|note| println!("{}: {note}", of.title));
}

fn in_short(title: &str, grid: &Grid) {
    let cell = |cell: &Option<Cell>| cell.map_or("–".to_owned(), |cell| format!("{:.1}", 100.0 * cell.value));
    let row = |(model, cells): &(String, Vec<Option<Cell>>)| {
        std::iter::once(model.clone()).chain(cells.iter().map(cell)).collect()
    };
    let columns = std::iter::once(title).chain(grid.columns.iter().map(String::as_str)).collect();
    Figures { columns, rows: grid.rows.iter().map(row).collect() }.print();
}
