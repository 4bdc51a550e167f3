//! Compares a model with numbers that transformers wrote: the rendered chat, the tokens, the logits after them, and a
//! greedy continuation. Prints what differs, and ends with 1 if anything does.
//!
//! `cargo run --release -p obvert-trainer --example against_reference -- REFERENCE.json MODEL`
//!
//! The reference holds `prompts` and `raw` texts. Its `ids` are those of transformers' own tokenizer, which a folder
//! carries; where the pre-tokenizer that a GGUF file names gives others, they and their numbers are in `smollm_pre`.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use obvert_trainer::generate::{Job, Sampling, generate};
use obvert_trainer::load::{Checkpoint, Dialect, Message};
use obvert_trainer::{Model, logits};
use serde::Deserialize;

/// The greatest difference that is put down to rounding in single precision.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Reference {
    prompts: Vec<Prompt>,
    raw: Vec<Raw>,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    messages: Vec<Message>,
    text: String,
    #[serde(flatten)]
    numbers: Numbers,
    smollm_pre: Option<Numbers>,
}

/// What follows a prompt: the first logits and all of them summed up, in double precision, and the likeliest tokens.
#[derive(Deserialize)]
struct Numbers {
    ids: Vec<u32>,
    first8_logits_f64: Vec<f64>,
    logsumexp_f64: f64,
    greedy_ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Raw {
    text: String,
    ids: Vec<u32>,
    smollm_pre_ids: Vec<u32>,
}

/// Counts and prints what differs.
#[derive(Default)]
struct Report {
    compared: usize,
    wrong: usize,
}

impl Report {
    fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(&mut self, what: &str, found: &T, expected: &T) {
        self.compared += 1;
        if found != expected {
            self.wrong += 1;
            println!("{what}:\n  found    {found:?}\n  expected {expected:?}");
        }
    }

    fn close(&mut self, what: &str, found: f64, expected: f64) {
        self.compared += 1;
        // Written so that NaN is a difference.
        let same = (found - expected).abs() < TOLERANCE;
        if !same {
            self.wrong += 1;
            println!("{what}: found {found}, expected {expected}");
        }
    }
}

fn compare_prompt(
    report: &mut Report,
    dialect: &Dialect,
    model: &Model,
    prompt: &Prompt,
    gguf: bool,
) -> Result<(), Box<dyn Error>> {
    let Prompt { name, messages, text, numbers, smollm_pre } = prompt;
    let numbers = smollm_pre.as_ref().filter(|_| gguf).unwrap_or(numbers);
    report.equal(&format!("{name}: text"), &dialect.template.render(messages, true)?, text);
    report.equal(&format!("{name}: tokens"), &dialect.prompt(messages)?, &numbers.ids);
    let all = logits(model, None, &numbers.ids);
    let last = all.data.rchunks(all.cols).next().unwrap_or_default();
    for (index, (found, expected)) in last.iter().zip(&numbers.first8_logits_f64).enumerate() {
        report.close(&format!("{name}: logit {index}"), f64::from(*found), *expected);
    }
    let sum: f64 = last.iter().map(|logit| f64::from(*logit).exp()).sum();
    report.close(&format!("{name}: logsumexp"), sum.ln(), numbers.logsumexp_f64);
    let greedy = Sampling { temperature: 0.0, top_p: 1.0, max_tokens: numbers.greedy_ids.len(), seed: 0 };
    let job = Job { prompt: numbers.ids.clone(), samples: vec![greedy] };
    for samples in generate(model, None, &[job], &[])? {
        let tokens: Vec<u32> = samples?.into_iter().flat_map(|sample| sample.tokens).collect();
        report.equal(&format!("{name}: greedy"), &tokens, &numbers.greedy_ids);
    }
    Ok(())
}

fn compare(reference: &Path, path: &Path) -> Result<Report, Box<dyn Error>> {
    let reference: Reference = serde_json::from_str(&std::fs::read_to_string(reference)?)?;
    let (dialect, model) = (Dialect::open(path)?, Checkpoint::open(path)?.model()?);
    let (gguf, mut report) = (path.is_file(), Report::default());
    for raw in &reference.raw {
        let expected = if gguf { &raw.smollm_pre_ids } else { &raw.ids };
        report.equal(&format!("tokens of {:?}", raw.text), &dialect.tokenizer.encode(&raw.text)?, expected);
    }
    for prompt in &reference.prompts {
        compare_prompt(&mut report, &dialect, &model, prompt, gguf)?;
    }
    Ok(report)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [reference, model] = arguments.as_slice() else {
        return Err("give the reference's JSON and the model's folder or file".into());
    };
    let report = compare(Path::new(reference), Path::new(model))?;
    println!("{} of {} comparisons agree", report.compared - report.wrong, report.compared);
    Ok(if report.wrong == 0 && report.compared > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
