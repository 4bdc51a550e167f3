//! `eval`: a benchmark's own scores of responses or verdicts in files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use obvert_constraints::Punkt;
use obvert_eval::{ifeval, multi_if, sysbench};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The benchmarks.
#[derive(clap::Subcommand)]
pub enum Benchmark {
    /// IFEval: verifiable instructions, strict and loose. Prints the four accuracies as JSON.
    Ifeval {
        /// The benchmark's prompts: rows {key, instruction_id_list, kwargs}.
        #[arg(long)]
        prompts: PathBuf,
        /// The answers: rows {key, response}.
        #[arg(long)]
        responses: PathBuf,
        /// Where to write the verdicts: rows {key, strict, loose}.
        #[arg(long)]
        verdicts: Option<PathBuf>,
        /// NLTK's parameters of Punkt, as JSON: with them sentences are NLTK's, else they are found by parameters of the program's own.
        #[arg(long)]
        punkt: Option<PathBuf>,
    },
    /// Multi-IF: instructions that add up over three turns. Prints the scores of each step, overall and by language, as JSON by model.
    MultiIf {
        /// The benchmark's conversations, as its CSV has them.
        #[arg(long)]
        prompts: PathBuf,
        /// The answers: rows {model, key, turn, response}, the turn from 1; `model` may be missing.
        #[arg(long)]
        responses: PathBuf,
        /// Where to write the verdicts: rows {model, key, language, turn, answered, instructions, strict, loose}.
        #[arg(long)]
        verdicts: Option<PathBuf>,
        /// As for `ifeval`.
        #[arg(long)]
        punkt: Option<PathBuf>,
    },
    /// SysBench: CSR, ISR, SSR and their parts, from a judge's verdicts. Prints them as JSON by model. Scores of whole turns are there in both
    /// readings of verdicts that are neither yes nor no: `all_yes` (a turn is satisfied if all are yes) and `no_no` (if none is no), which
    /// is the one of the benchmark's own table.
    Sysbench {
        /// The benchmark's sessions: rows {system_id, dependent, turns}.
        #[arg(long)]
        sessions: PathBuf,
        /// Verdicts: rows {model, system_id, turn, verdict}, where each is 1 (yes), 0 (no) or null.
        #[arg(long)]
        verdicts: PathBuf,
    },
}

/// Prints the scores.
pub fn eval(benchmark: &Benchmark) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Ifeval { prompts, responses, verdicts, punkt } => {
            split_by(punkt.as_deref())?;
            ifeval(prompts, responses, verdicts.as_deref())
        }
        Benchmark::MultiIf { prompts, responses, verdicts, punkt } => {
            split_by(punkt.as_deref())?;
            multi_if(prompts, responses, verdicts.as_deref())
        }
        Benchmark::Sysbench { sessions, verdicts } => sysbench(&rows(sessions)?, &rows(verdicts)?),
    }
}

/// Has sentences split by parameters in a file.
fn split_by(punkt: Option<&Path>) -> anyhow::Result<()> {
    punkt.map_or(Ok(()), |path| Ok(Punkt::from_file(path)?.use_everywhere()?))
}

fn ifeval(prompts: &Path, responses: &Path, to: Option<&Path>) -> anyhow::Result<()> {
    let (prompts, responses): (Vec<ifeval::Prompt>, Vec<ifeval::Response>) = (rows(prompts)?, rows(responses)?);
    let verdicts = ifeval::verdicts(&prompts, &responses)?;
    write(&verdicts, to)?;
    let answered: HashSet<u64> = responses.iter().map(|response| response.key).collect();
    let missing = prompts.iter().filter(|prompt| !answered.contains(&prompt.key)).count();
    if missing > 0 {
        eprintln!("warning: {missing} of {} prompts have no response, and count for nothing", prompts.len());
    }
    print(&ifeval::scores(&verdicts))
}

fn multi_if(prompts: &Path, responses: &Path, to: Option<&Path>) -> anyhow::Result<()> {
    let (conversations, responses): (Vec<multi_if::Conversation>, Vec<multi_if::Response>) =
        (rows(prompts)?, rows(responses)?);
    let verdicts = multi_if::verdicts(&conversations, &responses)?;
    write(&verdicts, to)?;
    let (scores, all) = (multi_if::scores(&verdicts), conversations.len() as u64);
    // What no score can tell: how much of the benchmark it is of.
    scores.iter().flat_map(|(model, of)| of.notes(model, all)).for_each(|note| eprintln!("warning: {note}"));
    print(&scores)
}

fn sysbench(sessions: &[sysbench::Session], judged: &[sysbench::Judged]) -> anyhow::Result<()> {
    let scores = sysbench::scores(sessions, judged)?;
    if scores.is_empty() {
        eprintln!("warning: no verdict is there");
    }
    scores.iter().flat_map(|(model, of)| of.notes(model)).for_each(|note| eprintln!("warning: {note}"));
    print(&scores)
}

/// Writes verdicts to a file, if there is to be one, a line each.
fn write(verdicts: &[impl serde::Serialize], to: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = to else { return Ok(()) };
    let lines = verdicts.iter().map(|row| serde_json::to_string(row).map(|line| line + "\n"));
    let text = lines.collect::<Result<String, _>>()?;
    Ok(obvert_stages::output::write_atomically(path, text.as_bytes())?)
}

fn print(scores: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(scores)?);
    Ok(())
}

/// The rows of a file of any format that sources read, gzipped or not.
fn rows<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let typed = |(index, row): (usize, Value)| {
        serde_json::from_value(row).with_context(|| format!("{}: row {}", path.display(), index + 1))
    };
    obvert_stages::read_rows(path).map_err(anyhow::Error::msg)?.into_iter().enumerate().map(typed).collect()
}
