//! `train`: the trainer on its own, on a file of pairs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use obvert_stages::output::metrics;
use obvert_stages::output::model_card::{self, ModelFacts};
use obvert_stages::output::word;
use obvert_trainer::conversation::Limits;
use obvert_trainer::fit::{Fit, FitSettings, Inputs, Outcome, Silent};
use obvert_trainer::loss::{Average, KtoBaseline, Margin};
use obvert_trainer::place::Place;
use obvert_trainer::schedule::Schedule;
use obvert_trainer::settings::{Activations, LossKind, MICRO_TOKENS, ReferenceKind};
use obvert_trainer::{Adapter, Config, LoraSettings, TokenPair, TrainSettings, peft};

use super::beside;
use super::memory;
use super::model::{ModelArguments, named};
use super::pairs::{self, Read};
use super::train_observer::TrainObserver;

/// Arguments of `train`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Pairs: a batch.json of token ids or JSONL in TRL's preference format, for kto also in its unpaired one; or a folder with such
    /// files named pairs*.jsonl, or a run's.
    #[arg(long)]
    pairs: PathBuf,
    #[command(flatten)]
    length: pairs::Length,
    /// Fail where a row of the file cannot be used, instead of setting it aside in rejected.jsonl.
    #[arg(long)]
    strict: bool,
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
    /// Label smoothing of dpo.
    #[arg(long, default_value_t = TrainSettings::default().label_smoothing)]
    label_smoothing: f64,
    /// Log-ratios of ipo: sum or mean over a response.
    #[arg(long, value_parser = named::<Average>, default_value = "sum")]
    ipo_average: Average,
    /// How kto's z is estimated: mismatched, pair or zero.
    #[arg(long, value_parser = named::<KtoBaseline>, default_value = "mismatched")]
    kto_baseline: KtoBaseline,
    /// Weight of chosen responses in kto.
    #[arg(long, default_value_t = TrainSettings::default().desirable_weight)]
    desirable_weight: f64,
    /// Weight of rejected responses in kto.
    #[arg(long, default_value_t = TrainSettings::default().undesirable_weight)]
    undesirable_weight: f64,
    /// lambda of orpo.
    #[arg(long, default_value_t = TrainSettings::default().orpo_lambda)]
    orpo_lambda: f64,
    /// What the policy is compared with: base (no adapter) or start (the adapter that training starts from).
    #[arg(long, value_parser = named::<ReferenceKind>, default_value = "base")]
    reference: ReferenceKind,
    /// Weight of the chosen responses' NLL per token, added to the loss.
    #[arg(long, default_value_t = TrainSettings::default().nll_weight)]
    nll_weight: f64,
    /// Peak learning rate.
    #[arg(long, default_value_t = TrainSettings::default().lr)]
    lr: f64,
    /// Times that every pair is trained on.
    #[arg(long, default_value_t = FitSettings::default().epochs)]
    epochs: u64,
    /// Updates, instead of epochs.
    #[arg(long)]
    steps: Option<u64>,
    /// Pairs per update, however few fit memory at once.
    #[arg(long, default_value_t = FitSettings::default().batch_size)]
    batch_size: usize,
    /// Share of the dialogues (or prompts) that is held out for validation; the best adapter on them goes to best/.
    #[arg(long, default_value_t = FitSettings::default().validation)]
    validation: f64,
    /// Updates between two validations; the end of each epoch by default.
    #[arg(long, default_value_t = FitSettings::default().validate_every)]
    validate_every: u64,
    /// Validations without a lower loss after which training stops; never by default.
    #[arg(long, default_value_t = FitSettings::default().patience)]
    patience: u64,
    /// Updates between two checkpoints.
    #[arg(long, default_value_t = FitSettings::default().checkpoint_every)]
    checkpoint_every: u64,
    /// Start over where the folder holds a run that was cut off, or another one: its checkpoints and best/ go.
    #[arg(long)]
    restart: bool,
    /// The learning rate's course: cosine, linear or constant.
    #[arg(long, value_parser = named::<Schedule>, default_value = "cosine")]
    schedule: Schedule,
    /// Share of the updates over which the rate rises first; 0.1 by default, 0 for the schedule constant.
    #[arg(long)]
    warmup_ratio: Option<f64>,
    /// Weight decay of AdamW.
    #[arg(long, default_value_t = TrainSettings::default().weight_decay)]
    weight_decay: f64,
    /// Gradients are scaled down to this norm; 0 is off.
    #[arg(long, default_value_t = TrainSettings::default().max_grad_norm)]
    max_grad_norm: f64,
    /// Packed tokens of one pass; there is a pass for every thread at a time. Fewer take less memory.
    #[arg(long, default_value_t = MICRO_TOKENS)]
    micro_tokens: usize,
    /// A pass's activations: keep them for its backward, or recompute them: slower, and a fraction of the memory.
    #[arg(long, value_parser = named::<Activations>, default_value = "keep")]
    activations: Activations,
    /// Take the pairs in the file's order.
    #[arg(long)]
    no_shuffle: bool,
    /// Rank of a new adapter.
    #[arg(long, default_value_t = LoraSettings::default().rank)]
    rank: usize,
    /// A new adapter's weight is alpha/rank.
    #[arg(long, default_value_t = LoraSettings::default().alpha)]
    alpha: f64,
    /// Seed of a new adapter and of the shuffle.
    #[arg(long, default_value_t = FitSettings::default().seed)]
    seed: u64,
    #[command(flatten)]
    beside: beside::Arguments,
    /// Folder for the adapter, its checkpoints, metrics.jsonl and rejected.jsonl; a run that was cut off goes on there.
    #[arg(long)]
    out: PathBuf,
}

/// Fine-tunes an adapter.
pub fn train(arguments: &Arguments) -> anyhow::Result<()> {
    check_start(arguments)?;
    let mut part = arguments.beside.start()?;
    // The first process keeps the state of all.
    let out = (part.index == 0).then_some(arguments.out.as_path());
    let (checkpoint, adapter) = arguments.model.look()?;
    let training = training(arguments, part.place(arguments.model.device));
    let lora = LoraSettings { rank: arguments.rank, alpha: arguments.alpha, ..LoraSettings::default() };
    let start = adapter.map_or_else(|| Adapter::new(&checkpoint.config, &lora, arguments.seed), Ok)?;
    let mut read = read(arguments, &checkpoint.config, &training)?;
    let longest = read.data.pairs.iter().map(TokenPair::packed_tokens).max().unwrap_or_default();
    let planned = TrainSettings { micro_tokens: training.micro_tokens.max(longest), ..training.clone() };
    memory::check(&checkpoint, (start.rank, &start.targets()), &planned)?;
    let (model, base) = (Arc::new(checkpoint.model()?), checkpoint.identity()?);
    let (data, settings) = (std::mem::take(&mut read.data), fit_settings(arguments));
    let mut fit = Fit::new(Inputs { model, base, start, training, data, settings }, out)?;
    read.set_aside(&fit.plan().single, "its mirror, which the loss needs, is not there");
    let read = if arguments.strict { read.whole()? } else { read };
    if let Some(peers) = part.join(work(&fit))? {
        fit = fit.beside(Box::new(peers));
    }
    let Some(out) = out else { return Ok(fit.run(&mut Silent).map(drop)?) };
    if arguments.restart {
        fit.clear()?;
    }
    let mut observer = TrainObserver::new(out, read);
    let outcome = fit.run(&mut observer)?;
    let name = arguments.model.model.file_name().map(|name| name.to_string_lossy().into_owned());
    peft::save(out, &*fit.trainer().adapter()?, name.as_deref())?;
    let card = card(arguments, &fit, name.unwrap_or_default())?;
    for folder in [out.to_owned(), out.join("best")].iter().filter(|folder| folder.is_dir()) {
        model_card::write(folder, &card)?;
    }
    report(out, &outcome, observer.read());
    part.end()
}

/// Settings that are not the trainer's.
#[derive(serde::Serialize)]
struct Walk {
    #[serde(flatten)]
    fit: FitSettings,
    #[serde(flatten)]
    lora: LoraSettings,
}

/// What there is to say of the adapter.
fn card(arguments: &Arguments, fit: &Fit, base_model: String) -> anyhow::Result<ModelFacts> {
    let adapter = fit.trainer().adapter()?;
    let lora = LoraSettings { rank: adapter.rank, alpha: adapter.alpha, targets: adapter.targets() };
    let walk = Walk { fit: fit_settings(arguments), lora };
    let settings = model_card::settings(&training(arguments, arguments.model.device), &walk);
    Ok(ModelFacts {
        name: format!("{base_model} trained on {}", arguments.pairs.display()),
        base_model,
        settings,
        counts: None,
        metrics: metrics::read(&arguments.out.join("metrics.jsonl"))?,
        adapter: arguments.out.display().to_string(),
        rerun: rerun(),
        pipeline: None,
    })
}

/// The command line, by the program's name.
fn rerun() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| word(&argument.to_string_lossy()));
    std::iter::once("obvert".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// What processes that share a run must agree on.
fn work(fit: &Fit) -> [u8; 32] {
    *blake3::hash(format!("train {} {}", env!("CARGO_PKG_VERSION"), fit.identity()).as_bytes()).as_bytes()
}

/// A run keeps its best adapter in a folder of its own, and would write over the one that it starts from there.
fn check_start(arguments: &Arguments) -> anyhow::Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    let start = arguments.model.adapter.as_deref().and_then(real);
    if start.is_some() && start == real(&arguments.out.join("best")) {
        bail!(
            "--adapter is the best adapter of the run in --out, which this run would write over: choose another --out"
        );
    }
    Ok(())
}

/// The pairs of the file that can be trained on.
fn read(arguments: &Arguments, config: &Config, training: &TrainSettings) -> anyhow::Result<Read> {
    let sides = training.preference_loss().sides();
    let limits = Limits { config, max_length: arguments.length.max_length, sides };
    let margins = training.loss == LossKind::Rpo && training.gamma() > 0.0;
    let read = pairs::read(&arguments.pairs, &arguments.model.model, &limits, margins)?;
    let read = if arguments.strict { read.whole()? } else { read.some()? };
    let (all, none) = (read.data.pairs.len(), read.data.pairs.iter().filter(|pair| pair.gap == 0.0).count());
    if margins && none > 0 {
        eprintln!("warning: {none} of {all} rows have no `g` (or `margin_g`) other than 0: for them rpo is dpo");
    }
    Ok(read)
}

fn report(out: &Path, outcome: &Outcome, read: &Read) {
    if read.shortened > 0 {
        println!("{} pairs lost the oldest turns of their history, which was too long", read.shortened);
    }
    if let Some(first) = read.first_rejected() {
        let (count, file) = (read.rejected.len(), out.join("rejected.jsonl"));
        println!("{count} rows were set aside, the first one {first}; all of them in {}", file.display());
    }
    if outcome.stopped_early {
        println!("stopped after {} updates: the held-out loss no longer fell", outcome.steps);
    }
    if let Some((step, loss)) = outcome.best {
        println!("best held-out loss {loss:.4} after {step} updates: {}", out.join("best").display());
    }
    println!("adapter in {}", out.display());
}

fn fit_settings(arguments: &Arguments) -> FitSettings {
    FitSettings {
        epochs: arguments.epochs,
        steps: arguments.steps,
        batch_size: arguments.batch_size,
        shuffle: !arguments.no_shuffle,
        validation: arguments.validation,
        validate_every: arguments.validate_every,
        patience: arguments.patience,
        checkpoint_every: arguments.checkpoint_every,
        seed: arguments.seed,
    }
}

fn training(arguments: &Arguments, device: Place) -> TrainSettings {
    TrainSettings {
        loss: arguments.loss,
        margin: arguments.margin,
        label_smoothing: arguments.label_smoothing,
        beta: arguments.beta,
        gamma: arguments.gamma,
        ipo_average: arguments.ipo_average,
        kto_baseline: arguments.kto_baseline,
        desirable_weight: arguments.desirable_weight,
        undesirable_weight: arguments.undesirable_weight,
        orpo_lambda: arguments.orpo_lambda,
        nll_weight: arguments.nll_weight,
        reference: arguments.reference,
        schedule: arguments.schedule,
        lr: arguments.lr,
        warmup_ratio: arguments.warmup_ratio,
        weight_decay: arguments.weight_decay,
        max_grad_norm: arguments.max_grad_norm,
        micro_tokens: arguments.micro_tokens,
        activations: arguments.activations,
        device,
        ..TrainSettings::default()
    }
}
