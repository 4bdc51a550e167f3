//! The learner: pairs in order in, updates, checkpoints and adapters out. Runs on a thread of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use obvert_api::record::{Adapter, Pair, id_of};
use obvert_engine::RunContext;
use obvert_trainer::{Metrics, TokenPair, Trainer, peft};
use serde_json::json;

use super::{Told, Train};
use crate::findings::Findings;
use crate::output::metrics::MetricsFile;
use crate::output::tensorboard::EventFile;
use crate::policy::{Policy, chat};

/// Version of the model without an adapter.
pub(super) const BASE: &str = "base";

/// How far into the sequence of pairs a trainer has come: the number of pairs and a hash over all of them in order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cursor {
    pairs: u64,
    chain: String,
}

pub(super) struct Learner {
    settings: Train,
    policy: Arc<Policy>,
    base_model: String,
    trainer: Trainer<f32>,
    /// Where the trainer stands.
    cursor: Cursor,
    /// Set while the sequence of pairs, told from its beginning, is still behind a resumed trainer: the pairs so far.
    replayed: Option<Vec<Pair>>,
    batch: Vec<Pair>,
    checkpoint: PathBuf,
    out: PathBuf,
    metrics: MetricsFile,
    events: Option<EventFile>,
    findings: Findings,
}

impl Learner {
    pub(super) fn open(
        settings: &Train,
        policy: Arc<Policy>,
        path: &Path,
        context: &RunContext,
        findings: Findings,
    ) -> Result<Self, String> {
        let checkpoint = context.out.join("state").join(format!("{}.checkpoint", context.stage));
        let (trainer, cursor) = resume(settings, &policy, &checkpoint)?;
        let mut metrics = MetricsFile::open(&context.out.join("metrics.jsonl")).map_err(|e| e.to_string())?;
        metrics.truncate(trainer.steps()).map_err(|e| e.to_string())?;
        let base_model = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Learner {
            settings: settings.clone(),
            policy,
            base_model,
            trainer,
            replayed: (cursor.pairs > 0).then(Vec::new),
            cursor,
            batch: Vec::new(),
            checkpoint,
            out: context.out.clone(),
            metrics,
            events: None,
            findings,
        })
    }

    /// Learns until it is told the end, or until nobody tells it anything any more.
    pub(super) fn learn(mut self, told: Receiver<Told>, tell: impl Fn(Result<Adapter, String>)) {
        tell(Ok(Adapter { version: BASE.into(), path: String::new(), steps: 0 }));
        match self.follow(told) {
            Ok(true) => tell(self.conclude()),
            Ok(false) => self.save().unwrap_or_else(|cause| tracing::error!(cause, "no checkpoint")),
            Err(cause) => tell(Err(cause)),
        }
    }

    /// Whether the end was told.
    fn follow(&mut self, told: Receiver<Told>) -> Result<bool, String> {
        let mut more = true;
        while let Ok(message) = told.recv() {
            match message {
                Told::Pair(pair, still) => {
                    more = still;
                    self.take(*pair, more)?;
                }
                Told::End => {
                    if self.replayed.is_some() {
                        self.restart("the inputs now make fewer pairs", false)?;
                    }
                    if !self.batch.is_empty() {
                        self.update(more)?;
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn take(&mut self, pair: Pair, more: bool) -> Result<(), String> {
        let Some(replayed) = &mut self.replayed else {
            self.batch.push(pair);
            return if self.batch.len() >= self.settings.batch_size { self.update(more) } else { Ok(()) };
        };
        replayed.push(pair);
        if (replayed.len() as u64) < self.cursor.pairs {
            return Ok(());
        }
        if chain(replayed) != self.cursor.chain {
            return self.restart("the inputs now make other pairs", more);
        }
        self.replayed = None;
        Ok(())
    }

    fn events(&mut self) -> Result<&mut EventFile, String> {
        let steps = self.trainer.steps();
        match &mut self.events {
            Some(events) => Ok(events),
            none => {
                let folder = self.out.join("tensorboard");
                let events = EventFile::create(&folder, (steps > 1).then(|| steps - 1)).map_err(|e| e.to_string())?;
                Ok(none.insert(events))
            }
        }
    }

    /// Begins again with a new adapter, on the pairs replayed so far.
    fn restart(&mut self, why: &str, more: bool) -> Result<(), String> {
        tracing::warn!(why, "training starts over");
        let Train { seed, .. } = self.settings;
        let (training, lora) = (self.settings.training(), self.settings.lora());
        self.trainer =
            Trainer::new(Arc::clone(&self.policy.model), training, &lora, seed).map_err(|e| e.to_string())?;
        self.cursor = Cursor::default();
        self.metrics.truncate(0).map_err(|e| e.to_string())?;
        self.findings.lock().metrics.clear();
        for pair in self.replayed.take().unwrap_or_default() {
            self.take(pair, more)?;
        }
        Ok(())
    }

    /// One update on the batch.
    fn update(&mut self, more: bool) -> Result<(), String> {
        let batch = std::mem::take(&mut self.batch);
        self.cursor = Cursor {
            pairs: self.cursor.pairs + batch.len() as u64,
            chain: batch.iter().fold(self.cursor.chain.clone(), |chain, pair| id_of(&[&chain, &pair.id])),
        };
        if self.trainer.steps() >= self.settings.updates {
            return Ok(());
        }
        let tokens: Vec<TokenPair> = batch.iter().filter_map(|pair| self.tokens(pair)).collect();
        if tokens.is_empty() {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        let reference = self.trainer.reference_logps(&tokens).map_err(|e| e.to_string())?;
        let metrics = self.trainer.step(&tokens, &reference).map_err(|e| e.to_string())?;
        self.record(&metrics, begin.elapsed().as_secs_f64(), more)?;
        if self.trainer.steps().is_multiple_of(self.settings.checkpoint_every) { self.save() } else { Ok(()) }
    }

    /// A pair as token ids, if the model can be trained on it.
    fn tokens(&self, pair: &Pair) -> Option<TokenPair> {
        let tokens = self.encode(pair);
        if let Err(cause) = &tokens {
            tracing::warn!(pair = pair.id, cause, "a pair is not trained on");
            self.findings.lock().skipped.push(format!("{}: {cause}", pair.id));
        }
        tokens.ok()
    }

    fn encode(&self, pair: &Pair) -> Result<TokenPair, String> {
        let messages = chat(&pair.prompt);
        let dialect = &self.policy.dialect;
        let (prompt, chosen) = dialect.pair(&messages, &pair.chosen).map_err(|e| e.to_string())?;
        let (_, rejected) = dialect.pair(&messages, &pair.rejected).map_err(|e| e.to_string())?;
        let tokens = TokenPair { prompt, chosen, rejected, gap: pair.g as f32 };
        tokens.check(0, &self.policy.model.config).map_err(|e| e.to_string())?;
        let longest = tokens.prompt.len() + tokens.chosen.len().max(tokens.rejected.len());
        match self.settings.max_tokens {
            limit if limit > 0 && longest > limit => Err(format!("{longest} tokens, max_tokens is {limit}")),
            _ => Ok(tokens),
        }
    }

    fn record(&mut self, metrics: &Metrics, seconds: f64, more: bool) -> Result<(), String> {
        let value = serde_json::to_value(metrics).map_err(|e| e.to_string())?;
        let fields = value.as_object().into_iter().flatten();
        let mut row: BTreeMap<String, f64> = fields.filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect();
        row.remove("step");
        row.insert("tokens_per_second".into(), metrics.tokens as f64 / seconds.max(1e-9));
        // 1 while dialogues were still being played when this update was made.
        row.insert("stream/open".into(), f64::from(u8::from(more)));
        self.metrics.append(metrics.step, &row).map_err(|e| e.to_string())?;
        self.events()?.scalars(metrics.step, &row).map_err(|e| e.to_string())?;
        row.insert("step".into(), metrics.step as f64);
        self.findings.lock().metrics.push(row);
        Ok(())
    }

    fn save(&self) -> Result<(), String> {
        let cursor =
            json!({ "pairs": self.cursor.pairs, "chain": self.cursor.chain, "settings": fingerprint(&self.settings) });
        self.trainer.save(&self.checkpoint, &cursor).map_err(|e| e.to_string())
    }

    /// Saves the last checkpoint and the adapter, once under its version and once where people look for it.
    fn conclude(&mut self) -> Result<Adapter, String> {
        self.save()?;
        let adapter = self.trainer.adapter();
        let weights: Vec<u8> =
            adapter.matrices().flat_map(|m| m.data.iter().flat_map(|value| value.to_le_bytes())).collect();
        let version = hash(&weights);
        let folder = self.out.join("state").join("adapters").join(&version);
        for folder in [&folder, &self.out.join("adapter")] {
            peft::save(folder, adapter, Some(&self.base_model)).map_err(|e| e.to_string())?;
        }
        Ok(Adapter { version, path: folder.to_string_lossy().into_owned(), steps: self.trainer.steps() })
    }
}

/// The trainer of the last checkpoint, if there is one for these settings; else a new one.
fn resume(settings: &Train, policy: &Policy, checkpoint: &Path) -> Result<(Trainer<f32>, Cursor), String> {
    let (model, training) = (Arc::clone(&policy.model), settings.training());
    if checkpoint.exists() {
        match Trainer::resume(Arc::clone(&model), training.clone(), checkpoint) {
            Ok((trainer, cursor)) if cursor["settings"] == fingerprint(settings) => {
                let pairs = cursor["pairs"].as_u64().unwrap_or_default();
                let chain = cursor["chain"].as_str().unwrap_or_default().to_string();
                return Ok((trainer, Cursor { pairs, chain }));
            }
            Ok(_) => tracing::warn!("the settings of `train` changed: training starts over"),
            Err(error) => {
                tracing::warn!(%error, "the checkpoint cannot be used: training starts over")
            }
        }
    }
    let trainer = Trainer::new(model, training, &settings.lora(), settings.seed).map_err(|e| e.to_string())?;
    Ok((trainer, Cursor::default()))
}

/// A number for all settings that the adapter depends on.
fn fingerprint(settings: &Train) -> String {
    let training = serde_json::to_string(&(settings.training(), settings.lora())).unwrap_or_default();
    let sizes = format!("{} {} {}", settings.batch_size, settings.max_tokens, settings.seed);
    id_of(&[&training, &sizes])
}

fn chain(pairs: &[Pair]) -> String {
    pairs.iter().fold(String::new(), |chain, pair| id_of(&[&chain, &pair.id]))
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_string()
}
