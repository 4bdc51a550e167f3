//! `run --seeds N`: the same pipeline several times, each with a seed of its own, and one table of all.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use obvert_engine::pipeline::Plan;
use obvert_eval::table::{Row, Table, table};
use obvert_stages::Examined;
use obvert_stages::output::{table::markdown, write_atomically};

use crate::verbs::Refused;
use crate::verbs::said::Said;

use super::{Arguments, Asked, Ended, Read, once};

/// Runs the pipeline with the seeds 1 to N, and leaves the table of their scores.
pub(super) fn run(asked: &Asked<'_>, seeds: u64, plan: &Plan, out: &Path) -> anyhow::Result<()> {
    let arguments = asked.arguments;
    if !plan.stages.iter().any(|stage| stage.kind == "scores") {
        let cause = "`--seeds` puts the scores of a stage `scores` side by side, and the pipeline has none";
        bail!(Refused(format!("error: {cause}")));
    }
    let (mut scores, mut last) = (Scores::default(), None);
    for seed in 1..=seeds {
        // What a run has loaded goes before the next one loads it.
        last = None;
        if asked.said != Said::Quiet {
            println!("\nseed {seed} of {seeds}");
        }
        let mut place = arguments.place();
        place.set.push(format!("run.seed={seed}"));
        let ended = once(asked, &place, Read::new(&place)?, &out.join(format!("seed-{seed}")))?;
        if let Some(ended) = ended {
            anyhow::ensure!(!ended.outcome.drained, "drained; run the same command again to continue");
            ended.read.findings.lock().scores.iter().for_each(|(stage, examined)| scores.add(stage, examined));
            last = Some(ended);
        }
    }
    let Some(last) = last else { bail!(Refused("error: --seeds wants at least one".into())) };
    write(arguments, out, &last, scores.tables(), seeds)
}

/// The rows of every run, and the method that others are held against, by the stage that scores.
#[derive(Default)]
struct Scores(BTreeMap<String, (Vec<Vec<Row>>, Option<String>)>);

impl Scores {
    fn add(&mut self, stage: &str, examined: &Examined) {
        let (runs, against) = self.0.entry(stage.to_owned()).or_default();
        runs.push(examined.rows.clone());
        against.clone_from(&examined.against);
    }

    fn tables(&self) -> BTreeMap<String, Table> {
        let of =
            |(runs, against): &(Vec<Vec<Row>>, Option<String>)| table(runs, against.as_deref().unwrap_or_default());
        self.0.iter().map(|(stage, all)| (stage.clone(), of(all))).collect()
    }
}

/// Leaves `table.md`, `table.json` and `report.html`: that of the last run, with the tables of all.
fn write(
    arguments: &Arguments,
    out: &Path,
    last: &Ended,
    tables: BTreeMap<String, Table>,
    seeds: u64,
) -> anyhow::Result<()> {
    let text = |(stage, table): (&String, &Table)| {
        format!("## {stage}\n\nMeans over {} runs, in percent.\n\n{}\n", table.runs, markdown(table))
    };
    let text: String = tables.iter().map(text).collect();
    println!("\n{text}");
    write_atomically(&out.join("table.md"), text.as_bytes()).context("table.md")?;
    write_atomically(&out.join("table.json"), &serde_json::to_vec_pretty(&tables)?).context("table.json")?;
    let note =
        format!("The tables are of {seeds} runs. All else on this page is of the last one, with run.seed = {seeds}.");
    last.pages(&arguments.place(), out, tables, Some(note)).write()?;
    println!("look at  {}", out.join("report.html").display());
    Ok(())
}
