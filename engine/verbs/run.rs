//! `run`: a pipeline from its inputs to its outputs, with progress on the way and an account at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use obvert_engine::{Options, Outcome, Progress, StageCount};
use obvert_stages::output::{self, report};
use obvert_stages::{Findings, Found};

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Folder of the results; `runs/NAME` by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Override a value: stage.key=value, run.workers=2, model.NAME.key=value.
    #[arg(long)]
    set: Vec<String>,
    /// Worker threads of the dataflow.
    #[arg(long)]
    workers: Option<usize>,
}

/// Seconds between two progress lines.
const EVERY: u64 = 2;

/// Runs a pipeline.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let findings = Findings::default();
    let (text, mut plan, registry) = super::plan(&arguments.pipeline, &arguments.set, &findings)?;
    plan.run.workers = arguments.workers.unwrap_or(plan.run.workers).max(1);
    let name = plan.name.clone();
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(&name));
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let out = out.canonicalize()?;
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    // The first Ctrl-C ends the run in good order, the second one at once.
    let interrupted = move || {
        if flag.swap(true, Relaxed) {
            std::process::exit(130)
        }
    };
    ctrlc::set_handler(interrupted).context("cannot watch for Ctrl-C")?;
    let options = Options { out: out.clone(), interrupt };
    let done = Arc::new(AtomicBool::new(false));
    let outcome = obvert_engine::run(plan, &registry, &options, |progress| show_progress(progress, Arc::clone(&done)));
    done.store(true, Relaxed);
    let outcome = outcome?;
    let found = findings.lock();
    write_report(&out, &name, &text, &outcome, &found)?;
    account(&arguments.pipeline, &out, &outcome, &found);
    if outcome.interrupted {
        anyhow::bail!("interrupted; run the same command again to continue");
    }
    Ok(())
}

fn show_progress(progress: Progress, done: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let begin = std::time::Instant::now();
        let mut shown = 0;
        while !done.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let elapsed = begin.elapsed().as_secs();
            if elapsed >= shown + EVERY && !done.load(Relaxed) {
                shown = elapsed;
                eprintln!("{elapsed:>4}s  {}", line(&progress.stages()));
            }
        }
    });
}

/// `stage in>out`, and what was rejected, for all stages that have begun.
fn line(stages: &[StageCount]) -> String {
    let one = |stage: &StageCount| {
        let rejected = if stage.rejected > 0 { format!(" -{}", stage.rejected) } else { String::new() };
        format!("{} {}>{}{rejected}", stage.name, stage.inputs, stage.outputs)
    };
    stages.iter().filter(|stage| stage.inputs > 0).map(one).collect::<Vec<_>>().join("  ")
}

fn write_report(out: &Path, name: &str, text: &str, outcome: &Outcome, found: &Found) -> anyhow::Result<()> {
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    let stage = |stage: &StageCount| report::StageCount {
        name: stage.name.clone(),
        kind: stage.kind.clone(),
        inputs: count(stage.inputs),
        handled: count(stage.done),
        rejected: count(stage.rejected),
        outputs: count(stage.outputs),
        calls: stage.calls,
        memo_hits: stage.memo_hits,
    };
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let facts = report::ReportFacts {
        name: name.to_string(),
        date: date(seconds),
        elapsed: outcome.elapsed.as_secs_f64(),
        pipeline: text.to_string(),
        stages: outcome.stages.iter().map(stage).collect(),
        pairs: found.pairs.clone(),
        example: found.example.clone(),
        metrics: found.metrics.clone(),
        scores: found.scores.clone(),
        models: Vec::new(),
    };
    report::write(&out.join("report.html"), &facts).context("report.html")
}

/// Days since 1970 as a date (the civil calendar, in UTC).
fn date(seconds: u64) -> String {
    let days = (seconds / 86_400) as i64 + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month_index + 2) / 5 + 1, (month_index + 2) % 12 + 1);
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn account(pipeline: &Path, out: &Path, outcome: &Outcome, found: &Found) {
    if let Some(pair) = &found.example {
        println!("\nOne pair\n{}", output::side_by_side(pair, 100));
    }
    println!(
        "{:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "stage", "in", "done", "rejected", "records", "calls", "memo"
    );
    for s in &outcome.stages {
        println!(
            "{:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            s.name, s.inputs, s.done, s.rejected, s.outputs, s.calls, s.memo_hits
        );
    }
    if found.pairs.pairs > 0 {
        let cases = found.pairs.by_case.map(|n| n.to_string()).join("/");
        let by_g = found.pairs.by_g.iter().map(|(g, n)| format!("{g}:{n}")).collect::<Vec<_>>().join(" ");
        println!(
            "\npairs {} ({} unordered), cases 1 to 6: {cases}, by g: {by_g}",
            found.pairs.pairs, found.pairs.unordered
        );
    }
    if found.skipped.pairs > 0 {
        println!("{} pairs were not trained on, the first one {}", found.skipped.pairs, found.skipped.first);
    }
    if !found.scores.is_empty() {
        println!("\n{:<18} {:>7} {:>7} {:>7} {:>7}", "answers by", "CSR", "ISR", "SSR", "turns");
        for row in &found.scores {
            let label = if row.model == "base" { "base (before)" } else { "trained (after)" };
            println!("{label:<18} {:>7.3} {:>7.3} {:>7.3} {:>7}", row.csr, row.isr, row.ssr, row.turns);
        }
    }
    println!("\n{:.1} s; everything is in {}", outcome.elapsed.as_secs_f64(), out.display());
    println!("look at {}", out.join("report.html").display());
    println!("next: edit an input of {} and run it again: only what depends on it is computed", pipeline.display());
}
