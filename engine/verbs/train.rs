//! `train` and `logprobs`: the trainer on its own, on a file of pairs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use obvert_stages::Shuffle;
use obvert_stages::output::metrics::MetricsFile;
use obvert_stages::output::tensorboard::EventFile;
use obvert_trainer::load::{Checkpoint, Dialect, Message};
use obvert_trainer::loss::Margin;
use obvert_trainer::schedule::Schedule;
use obvert_trainer::settings::LossKind;
use obvert_trainer::{Adapter, LoraSettings, Model, ResponseLogps, TokenPair, TrainSettings, Trainer, peft};
use serde_json::{Value, json};

/// Arguments of `logprobs`.
#[derive(clap::Args)]
pub struct Logprobs {
    /// A Hugging Face folder or a GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// A PEFT folder.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Pairs: a batch.json of token ids or JSONL in TRL's preference format.
    #[arg(long)]
    batch: PathBuf,
}

/// A setting of the trainer by its name in files.
fn named<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(name)).map_err(|e| e.to_string())
}

/// Arguments of `train`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A Hugging Face folder or a GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// A PEFT folder to start from; a new adapter by default.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Pairs: a batch.json of token ids or JSONL in TRL's preference format.
    #[arg(long)]
    pairs: PathBuf,
    /// The loss: rpo, dpo, ipo, kto, simpo, orpo, iopo or sft.
    #[arg(long, value_parser = named::<LossKind>, default_value = "rpo")]
    loss: LossKind,
    /// beta of the loss; 0.1 by default, 2 for simpo.
    #[arg(long)]
    beta: Option<f64>,
    /// gamma of the margin; 0.05 by default, 1 for simpo.
    #[arg(long)]
    gamma: Option<f64>,
    /// What RPO's gamma multiplies: paper (g) or reference-code (beta g).
    #[arg(long, value_parser = named::<Margin>, default_value = "paper")]
    margin: Margin,
    /// Weight of the chosen responses' NLL per token, added to the loss.
    #[arg(long, default_value_t = 0.0)]
    nll_weight: f64,
    /// Peak learning rate.
    #[arg(long, default_value_t = 5e-4)]
    lr: f64,
    /// Updates; one pass over the pairs by default.
    #[arg(long)]
    steps: Option<u64>,
    /// Pairs per update; all of them by default, 32 at most.
    #[arg(long)]
    batch_size: Option<usize>,
    /// The learning rate's course: cosine, linear or constant.
    #[arg(long, value_parser = named::<Schedule>, default_value = "cosine")]
    schedule: Schedule,
    /// Share of the updates over which the rate of a schedule that falls rises first.
    #[arg(long, default_value_t = 0.1)]
    warmup_ratio: f64,
    /// Weight decay of AdamW.
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f64,
    /// Gradients are scaled down to this norm; 0 is off.
    #[arg(long, default_value_t = 1.0)]
    max_grad_norm: f64,
    /// Take the pairs in the file's order.
    #[arg(long)]
    no_shuffle: bool,
    /// Rank of a new adapter.
    #[arg(long, default_value_t = 8)]
    rank: usize,
    /// A new adapter's weight is alpha/rank.
    #[arg(long, default_value_t = 16.0)]
    alpha: f64,
    /// Seed of a new adapter and of the shuffle.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the adapter and metrics.jsonl.
    #[arg(long)]
    out: PathBuf,
}

/// Prints log-probs under the policy (the model with its adapter) and the reference (without).
pub fn logprobs(arguments: &Logprobs) -> anyhow::Result<()> {
    let (model, adapter) = open(&arguments.model, arguments.adapter.as_deref())?;
    let pairs = pairs(&arguments.batch, &arguments.model, &model)?;
    let policy = obvert_trainer::logprobs(&model, adapter.as_ref(), &pairs)?;
    let reference = obvert_trainer::logprobs(&model, None, &pairs)?;
    println!("{}", json!({ "policy": columns(&policy), "reference": columns(&reference) }));
    Ok(())
}

fn columns(logps: &[ResponseLogps]) -> Value {
    let column = |of: fn(&ResponseLogps) -> f64| logps.iter().map(of).collect::<Vec<_>>();
    json!({ "chosen": column(|l| l.chosen), "rejected": column(|l| l.rejected) })
}

/// Fine-tunes an adapter.
pub fn train(arguments: &Arguments) -> anyhow::Result<()> {
    let (model, adapter) = open(&arguments.model, arguments.adapter.as_deref())?;
    let pairs = pairs(&arguments.pairs, &arguments.model, &model)?;
    ensure!(!pairs.is_empty(), "{}: no pairs", arguments.pairs.display());
    let batch_size = arguments.batch_size.unwrap_or(32).clamp(1, pairs.len());
    let steps = arguments.steps.unwrap_or(pairs.len().div_ceil(batch_size) as u64);
    let settings = settings(arguments, steps);
    let sides = settings.preference_loss().sides();
    pairs.iter().enumerate().try_for_each(|(index, pair)| pair.check_sides(index, sides))?;
    let mut trainer = match adapter {
        Some(adapter) => Trainer::with_adapter(Arc::new(model), settings, adapter)?,
        None => {
            let lora = LoraSettings { rank: arguments.rank, alpha: arguments.alpha, ..LoraSettings::default() };
            Trainer::new(Arc::new(model), settings, &lora, arguments.seed)?
        }
    };
    let reference = trainer.reference_logps(&pairs)?;
    let mut metrics = MetricsFile::open(&arguments.out.join("metrics.jsonl"))?;
    metrics.truncate(0)?;
    let mut events = EventFile::create(&arguments.out.join("tensorboard"), None)?;
    let mut order = order(pairs.len(), (!arguments.no_shuffle).then_some(arguments.seed));
    for _ in 0..steps {
        let batch: Vec<usize> = order.by_ref().take(batch_size).collect();
        let chosen: Vec<TokenPair> = batch.iter().map(|&i| pairs[i].clone()).collect();
        let logps: Vec<ResponseLogps> = batch.iter().map(|&i| reference[i]).collect();
        let begin = std::time::Instant::now();
        let made = trainer.step(&chosen, &logps)?;
        let seconds = begin.elapsed().as_secs_f64();
        let value = serde_json::to_value(made)?;
        let mut row: BTreeMap<String, f64> =
            value.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect();
        row.remove("step");
        row.insert("tokens/s".into(), made.tokens as f64 / seconds.max(1e-9));
        row.insert("epoch".into(), (made.step as usize * batch_size) as f64 / pairs.len() as f64);
        metrics.append(made.step, &row)?;
        events.scalars(made.step, &row)?;
        println!(
            "{}",
            json!({ "step": made.step, "loss": made.batch.loss, "grad_norm": made.grad_norm, "rewards/accuracies": made.batch.accuracies })
        );
    }
    let name = arguments.model.file_name().map(|name| name.to_string_lossy().into_owned());
    peft::save(&arguments.out, trainer.adapter(), name.as_deref())?;
    println!("adapter in {}", arguments.out.display());
    Ok(())
}

fn settings(arguments: &Arguments, steps: u64) -> TrainSettings {
    TrainSettings {
        loss: arguments.loss,
        margin: arguments.margin,
        nll_weight: arguments.nll_weight,
        schedule: arguments.schedule,
        beta: arguments.beta,
        gamma: arguments.gamma,
        lr: arguments.lr,
        warmup_ratio: if arguments.schedule == Schedule::Constant { 0.0 } else { arguments.warmup_ratio },
        total_steps: steps,
        weight_decay: arguments.weight_decay,
        max_grad_norm: arguments.max_grad_norm,
        ..TrainSettings::default()
    }
}

fn open(path: &Path, adapter: Option<&Path>) -> anyhow::Result<(Model<f32>, Option<Adapter<f32>>)> {
    let model = Checkpoint::open(path)?.model()?;
    let adapter = adapter.map(|folder| peft::load(folder, &model.config)).transpose()?;
    Ok((model, adapter))
}

/// Pairs as token ids, all of them or none: a row that cannot be used is named.
fn pairs(path: &Path, model_path: &Path, model: &Model<f32>) -> anyhow::Result<Vec<TokenPair>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    if let Ok(batch) = serde_json::from_str::<Value>(&text)
        && batch.get("pairs").is_some()
    {
        return Ok(obvert_trainer::pair::Batch::read(path, &model.config)?.pairs);
    }
    let dialect = Dialect::open(model_path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let pair = row(line, &dialect).with_context(|| format!("{}:{}", path.display(), index + 1))?;
            pair.check(index, &model.config)?;
            Ok(pair)
        })
        .collect()
}

/// One row in TRL's explicit-prompt conversational format; `g` (or `margin_g`) is 0 where there is none.
fn row(line: &str, dialect: &Dialect) -> anyhow::Result<TokenPair> {
    let row: Value = serde_json::from_str(line)?;
    let messages = |key: &str| -> anyhow::Result<Vec<Message>> {
        let list = row[key].as_array().with_context(|| format!("`{key}` is not a list of messages"))?;
        list.iter()
            .map(|message| match (message["role"].as_str(), message["content"].as_str()) {
                (Some(role), Some(content)) => Ok(Message::new(role, content)),
                _ => bail!("a message of `{key}` has no role or no content"),
            })
            .collect()
    };
    let answer = |key: &str| -> anyhow::Result<String> {
        let [message] = &messages(key)?[..] else { bail!("`{key}` is not one message") };
        Ok(message.content.clone())
    };
    let prompt = messages("prompt")?;
    // A row may say that an answer was cut: then its end is no end to learn.
    let tokens = |key: &str| -> anyhow::Result<_> {
        let cut = row["provenance"][format!("{key}_finished")] == false;
        let answer = answer(key)?;
        Ok(if cut { dialect.pair_cut(&prompt, &answer) } else { dialect.pair(&prompt, &answer) }?)
    };
    let (ids, chosen) = tokens("chosen")?;
    let (_, rejected) = tokens("rejected")?;
    let gap = row["g"].as_f64().or(row["margin_g"].as_f64()).unwrap_or_default() as f32;
    Ok(TokenPair { prompt: ids, chosen, rejected, gap })
}

/// Indices in rounds over all pairs without end, each round in the file's order or shuffled from the seed.
fn order(count: usize, seed: Option<u64>) -> impl Iterator<Item = usize> {
    let round = move |round: u64| {
        let window = if seed.is_some() { count } else { 0 };
        let mut shuffle = Shuffle::new(window, seed.unwrap_or_default().wrapping_add(round));
        let mut indices: Vec<usize> = (0..count).filter_map(|index| shuffle.push(index)).collect();
        indices.extend(std::iter::from_fn(|| shuffle.pop()));
        indices
    };
    (0..).flat_map(round)
}
