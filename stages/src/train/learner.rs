//! The learner: pairs in order in, updates, checkpoints and adapters out. Runs on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Receiver;

use obvert_api::abi::reason_of;
use obvert_api::record::{Adapter, Pair, id_of};
use obvert_engine::RunContext;
use obvert_trainer::checkpoints::Checkpoints;
use obvert_trainer::conversation::{Answer, Conversation, Fitted, Limits};
use obvert_trainer::{Metrics, Trainer, peft};
use serde::{Deserialize, Serialize};

use super::{Shuffle, Told, Train};
use crate::findings::{Findings, Skipped};
use crate::output::metrics;
use crate::output::train_log::{TrainLog, counts, row_of};
use crate::policy::{Policy, chat};

/// Version of the model without an adapter.
pub(super) const BASE: &str = "base";

/// How far into the sequence of pairs a trainer has come: the number of pairs and a hash over all of them in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cursor {
    pairs: u64,
    chain: String,
    /// Pairs that could not be trained on, and why the first of them could not.
    skipped: Skipped,
    /// Pairs that lost turns of their history.
    #[serde(default)]
    shortened: u64,
    /// Pairs that came after the last update.
    #[serde(default)]
    unused: u64,
    /// What the adapter depends on besides the pairs.
    #[serde(default)]
    settings: String,
}

pub(super) struct Learner {
    settings: Train,
    policy: Arc<Policy>,
    base_model: String,
    trainer: Trainer<f32>,
    window: Shuffle<Pair>,
    /// Where the trainer stands in the shuffled sequence.
    cursor: Cursor,
    /// Set while the sequence of pairs, told from its beginning, is still behind a resumed trainer: the pairs so far.
    replayed: Option<Vec<Pair>>,
    batch: Vec<Pair>,
    checkpoints: Checkpoints,
    /// Where adapters lie under their versions.
    adapters: PathBuf,
    out: PathBuf,
    log: TrainLog,
    findings: Findings,
    signals: Signals,
}

/// What the dataflow signals to a learner beside the pairs, at once.
#[derive(Clone, Default)]
pub(super) struct Signals {
    /// Leave the pairs that you were told of untouched.
    pub(super) stop: Arc<AtomicBool>,
    /// The last pair has come: no dialogue is being played any more.
    pub(super) ended: Arc<AtomicBool>,
}

impl Learner {
    pub(super) fn open(
        settings: &Train,
        policy: Arc<Policy>,
        path: &Path,
        context: &RunContext,
        findings: Findings,
    ) -> Result<Self, String> {
        let state = context.out.join("state");
        let checkpoints = Checkpoints::open(&state.join(format!("{}.checkpoints", context.stage)));
        let checkpoints = checkpoints.map_err(|e| e.to_string())?;
        let (trainer, cursor) = resume(settings, &policy, &checkpoints)?;
        let out = context.folder();
        let log = TrainLog::open(&out, trainer.steps()).map_err(|e| e.to_string())?;
        let base_model = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Learner {
            settings: settings.clone(),
            policy,
            base_model,
            trainer,
            window: Shuffle::new(settings.shuffle, settings.seed),
            replayed: (cursor.pairs > 0).then(Vec::new),
            cursor,
            batch: Vec::new(),
            checkpoints,
            adapters: state.join("adapters"),
            out,
            log,
            findings,
            signals: Signals::default(),
        })
    }

    /// Learns until it is told the end, or to stop, or until nobody tells it anything any more.
    pub(super) fn learn(mut self, told: Receiver<Told>, signals: Signals, tell: impl Fn(Result<Adapter, String>)) {
        self.signals = signals;
        tell(Ok(Adapter { version: BASE.into(), path: String::new(), steps: 0 }));
        let learned = catch_unwind(AssertUnwindSafe(|| match self.follow(told)? {
            true => self.conclude().map(Some),
            false => self.save().map(|()| None),
        }));
        match learned.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()).0)) {
            Ok(None) => {}
            Ok(Some(adapter)) => tell(Ok(adapter)),
            Err(cause) => tell(Err(cause)),
        }
    }

    /// Whether the end was told and reached.
    fn follow(&mut self, told: Receiver<Told>) -> Result<bool, String> {
        while let (false, Ok(message)) = (self.stopped(), told.recv()) {
            match message {
                Told::Pair(pair) => {
                    if let Some(pair) = self.window.push(*pair) {
                        self.take(pair)?;
                    }
                }
                Told::End => return self.drain(),
            }
        }
        Ok(false)
    }

    fn stopped(&self) -> bool {
        self.signals.stop.load(Relaxed)
    }

    /// Takes what is left in the window; whether it came to the end of it.
    fn drain(&mut self) -> Result<bool, String> {
        while let Some(pair) = self.window.pop() {
            if self.stopped() {
                return Ok(false);
            }
            self.take(pair)?;
        }
        if self.replayed.is_some() {
            self.restart("the inputs now make fewer pairs")?;
        }
        if self.stopped() {
            return Ok(false);
        }
        // The checkpoint stays before the last batch, which is a short one: more pairs would have filled it.
        self.save()?;
        if !self.batch.is_empty() {
            self.update()?;
        }
        Ok(true)
    }

    fn take(&mut self, pair: Pair) -> Result<(), String> {
        let Some(replayed) = &mut self.replayed else {
            self.batch.push(pair);
            return if self.batch.len() >= self.settings.batch_size { self.update() } else { Ok(()) };
        };
        replayed.push(pair);
        if (replayed.len() as u64) < self.cursor.pairs {
            return Ok(());
        }
        if chain(replayed) != self.cursor.chain {
            return self.restart("the inputs now make other pairs");
        }
        self.replayed = None;
        let mut found = self.findings.lock();
        found.metrics = metrics::read(&self.out.join("metrics.jsonl")).map_err(|e| e.to_string())?;
        found.skipped = self.cursor.skipped.clone();
        found.shortened = self.cursor.shortened;
        found.unused = self.cursor.unused;
        Ok(())
    }

    /// Begins again with a new adapter, on the pairs replayed so far.
    fn restart(&mut self, why: &str) -> Result<(), String> {
        tracing::warn!(why, "training starts over");
        self.trainer = self.settings.trainer(&self.policy)?;
        self.cursor = Cursor::new(&self.settings, &self.policy);
        self.log.go_back(0).map_err(|e| e.to_string())?;
        for pair in self.replayed.take().unwrap_or_default() {
            if self.stopped() {
                break;
            }
            self.take(pair)?;
        }
        Ok(())
    }

    /// One update on the batch.
    fn update(&mut self) -> Result<(), String> {
        let batch = std::mem::take(&mut self.batch);
        self.cursor.pairs += batch.len() as u64;
        self.cursor.chain = batch.iter().fold(std::mem::take(&mut self.cursor.chain), link);
        if self.trainer.steps() >= self.settings.updates {
            self.cursor.unused += batch.len() as u64;
            self.findings.lock().unused = self.cursor.unused;
            return Ok(());
        }
        let mut tokens = Vec::new();
        for pair in &batch {
            match self.encode(pair) {
                Ok(fitted) => {
                    self.cursor.shortened += u64::from(fitted.shortened);
                    tokens.push(fitted.tokens);
                }
                Err(cause) => self.skip(pair, &cause),
            }
        }
        self.findings.lock().shortened = self.cursor.shortened;
        if tokens.is_empty() {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        let reference = self.trainer.reference_logps(&tokens).map_err(|e| e.to_string())?;
        let metrics = self.trainer.step(&tokens, &reference).map_err(|e| e.to_string())?;
        self.record(&metrics, begin.elapsed().as_secs_f64())?;
        if self.trainer.steps().is_multiple_of(self.settings.checkpoint_every) { self.save() } else { Ok(()) }
    }

    fn skip(&mut self, pair: &Pair, cause: &str) {
        tracing::warn!(pair = pair.id, cause, "a pair is not trained on");
        self.cursor.skipped.count(&format!("{}: {cause}", pair.id));
        self.findings.lock().skipped = self.cursor.skipped.clone();
    }

    /// A pair as token ids, if the model can be trained on it.
    fn encode(&self, pair: &Pair) -> Result<Fitted, String> {
        let (prompt, gap) = (chat(&pair.prompt), pair.g as f32);
        let chosen = Some(Answer { text: &pair.chosen, finished: pair.chosen_finished });
        let rejected = Some(Answer { text: &pair.rejected, finished: pair.rejected_finished });
        let (config, sides) = (&self.policy.model.config, self.trainer.settings().preference_loss().sides());
        let limits = Limits { config, max_length: self.settings.max_length, sides };
        let conversation = Conversation { prompt: &prompt, chosen, rejected, gap };
        limits.fit(&conversation, &self.policy.dialect).map_err(|e| e.to_string())
    }

    fn record(&mut self, metrics: &Metrics, seconds: f64) -> Result<(), String> {
        let mut row = row_of(metrics, seconds);
        // 1 while dialogues were still being played when this update was made.
        row.insert("stream/open".into(), f64::from(u8::from(!self.signals.ended.load(Relaxed))));
        row.extend(counts(self.cursor.shortened, self.cursor.skipped.pairs));
        self.log.append(metrics.step, &row).map_err(|e| e.to_string())?;
        self.findings.lock().metrics.push(row);
        Ok(())
    }

    fn save(&self) -> Result<(), String> {
        let cursor = serde_json::to_value(&self.cursor).map_err(|e| e.to_string())?;
        self.checkpoints.save(&self.trainer, &cursor).map_err(|e| e.to_string())
    }

    /// Saves the adapter, once under its version and once where people look for it.
    fn conclude(&mut self) -> Result<Adapter, String> {
        let adapter = self.trainer.adapter();
        let weights: Vec<u8> =
            adapter.matrices().flat_map(|m| m.data.iter().flat_map(|value| value.to_le_bytes())).collect();
        let version = hash(&weights);
        let folder = self.adapters.join(&version);
        for folder in [&folder, &self.out.join("adapter")] {
            peft::save(folder, adapter, Some(&self.base_model)).map_err(|e| e.to_string())?;
        }
        Ok(Adapter { version, path: folder.to_string_lossy().into_owned(), steps: self.trainer.steps() })
    }
}

/// The trainer of the newest checkpoint that can be used, if it is one for these settings; else a new one.
fn resume(settings: &Train, policy: &Policy, checkpoints: &Checkpoints) -> Result<(Trainer<f32>, Cursor), String> {
    let new = Cursor::new(settings, policy);
    let mut trainer = settings.trainer(policy)?;
    let restored = checkpoints.restore(&mut trainer).map_err(|e| e.to_string())?;
    restored
        .refused
        .iter()
        .for_each(|error| tracing::warn!(%error, "a checkpoint cannot be used: the one before it is"));
    match restored.cursor.map(Cursor::deserialize) {
        Some(Ok(cursor)) if cursor.settings == new.settings => Ok((trainer, cursor)),
        Some(_) => {
            tracing::warn!("the settings of `train` or its model changed: training starts over");
            Ok((settings.trainer(policy)?, new))
        }
        None => Ok((trainer, new)),
    }
}

impl Cursor {
    /// The beginning.
    fn new(settings: &Train, policy: &Policy) -> Self {
        let training = serde_json::to_string(&(settings.training(), settings.lora())).unwrap_or_default();
        let Train { batch_size, max_length, shuffle, seed, .. } = settings;
        let sizes = format!("{batch_size} {max_length:?} {shuffle} {seed}");
        Cursor { settings: id_of(&[&training, &sizes, policy.identity()]), ..Cursor::default() }
    }
}

fn chain(pairs: &[Pair]) -> String {
    pairs.iter().fold(String::new(), link)
}

/// The hash of a sequence that a pair is added to. All of the pair counts, not its id alone: a reversal may be worded
/// anew.
fn link(chain: String, pair: &Pair) -> String {
    id_of(&[&chain, &serde_json::to_string(pair).unwrap_or_default()])
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_string()
}
