//! `logprobs`: what a model and its adapter think of a file of pairs.

use std::path::PathBuf;
use std::sync::Arc;

use obvert_trainer::conversation::Limits;
use obvert_trainer::loss::Sides;
use obvert_trainer::settings::{Activations, MICRO_TOKENS};
use obvert_trainer::{Adapter, ResponseLogps, compute};
use serde_json::{Value, json};

use super::model::ModelArguments;
use super::pairs;

/// Arguments of `logprobs`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Pairs: a batch.json of token ids or JSONL in TRL's preference format.
    #[arg(long)]
    batch: PathBuf,
    #[command(flatten)]
    length: pairs::Length,
}

/// Prints log-probs under the policy (the model with its adapter) and the reference (without).
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (_, model, adapter) = arguments.model.open()?;
    let limits = Limits { config: &model.config, max_length: arguments.length.max_length, sides: Sides::Either };
    // Columns are told apart by position: a row that is left out would shift them.
    let pairs = pairs::read(&arguments.batch, &arguments.model.model, &limits, false)?.whole()?.data.pairs;
    let passes = (MICRO_TOKENS, Activations::Keep);
    let targets = adapter.as_ref().map(Adapter::targets).unwrap_or_default();
    let shape = (adapter.as_ref().map_or(0, |adapter| adapter.rank), &*targets);
    let mut compute = compute::at(arguments.model.device, &Arc::new(model), shape, passes)?;
    let policy = compute.logprobs(adapter.as_ref(), &pairs)?;
    let reference = compute.logprobs(None, &pairs)?;
    println!("{}", json!({ "policy": columns(&policy), "reference": columns(&reference) }));
    Ok(())
}

fn columns(logps: &[ResponseLogps]) -> Value {
    let column = |of: fn(&ResponseLogps) -> f64| logps.iter().map(of).collect::<Vec<_>>();
    json!({ "chosen": column(|l| l.chosen), "rejected": column(|l| l.rejected) })
}
