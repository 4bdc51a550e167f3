//! The learner: pairs in order in, updates, checkpoints and adapters out. Runs on a thread of its own.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Receiver;

use obvert_api::abi::reason_of;
use obvert_api::record::{Adapter, Pair};
use obvert_engine::RunContext;
use obvert_trainer::checkpoints::Checkpoints;
use obvert_trainer::{Metrics, TokenPair, Trainer, peft};

use super::Told;
use super::cursor::{Cursor, resume};
use super::encode::encode;
use super::mirrors::Unit;
use super::replay::Batch;
use super::settings::Train;
use super::stream::Stream;
use crate::findings::Findings;
use crate::output::metrics;
use crate::output::train_log::{TrainLog, columns, counts, row_of};
use crate::policy::Policy;

/// Version of the model without an adapter.
pub(super) const BASE: &str = "base";

pub(super) struct Learner {
    settings: Train,
    policy: Arc<Policy>,
    base_model: String,
    trainer: Trainer<f32>,
    stream: Stream,
    /// Where the trainer stands in the stream.
    cursor: Cursor,
    /// Set while the sequence of pairs, told from its beginning, is still behind a resumed trainer: the batches so far,
    /// and where they end.
    passed: Option<(Vec<Batch<Unit>>, Cursor)>,
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
            stream: Stream::new(settings),
            passed: (cursor.pairs > 0).then(Default::default),
            cursor,
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
                Told::Pair(pair) => self.stream.push(pair).map_or(Ok(()), |batch| self.take(batch))?,
                Told::Withdrawn(id) => self.stream.forget(&id),
                Told::End => return self.drain(),
            }
        }
        Ok(false)
    }

    fn stopped(&self) -> bool {
        self.signals.stop.load(Relaxed)
    }

    /// Takes what is left in the stream; whether it came to the end of it.
    fn drain(&mut self) -> Result<bool, String> {
        while let Some(batch) = self.stream.pop() {
            if self.stopped() {
                return Ok(false);
            }
            self.take(batch)?;
        }
        if self.passed.is_some() {
            self.restart("the inputs now make fewer pairs")?;
        }
        if self.stopped() {
            return Ok(false);
        }
        // The checkpoint stays before the last batch, which is a short one: more pairs would have filled it.
        self.save()?;
        if let Some(batch) = self.stream.rest() {
            self.update(&batch)?;
        }
        // They are found again when the sequence is told again, and so are not in the checkpoint.
        let single = self.stream.single();
        single.iter().for_each(|pair| self.skip(pair, "its mirror, which iopo needs, did not come"));
        Ok(true)
    }

    fn take(&mut self, batch: Batch<Unit>) -> Result<(), String> {
        let Some((batches, passed)) = &mut self.passed else { return self.advance(&batch) };
        passed.pass(batch.new.iter().flatten());
        batches.push(batch);
        if passed.pairs < self.cursor.pairs {
            return Ok(());
        }
        if passed.chain != self.cursor.chain {
            return self.restart("the inputs now make other pairs");
        }
        self.passed = None;
        let mut found = self.findings.lock();
        found.metrics = metrics::read(&self.out.join("metrics.jsonl")).map_err(|e| e.to_string())?;
        self.cursor.tell(&mut found);
        Ok(())
    }

    /// Begins again with a new adapter, on the batches so far.
    fn restart(&mut self, why: &str) -> Result<(), String> {
        tracing::warn!(why, "training starts over");
        self.trainer = self.settings.trainer(&self.policy)?;
        self.cursor = Cursor::new(&self.settings, &self.policy);
        self.log.go_back(0).map_err(|e| e.to_string())?;
        for batch in self.passed.take().unwrap_or_default().0 {
            if self.stopped() {
                break;
            }
            self.advance(&batch)?;
        }
        Ok(())
    }

    /// One update on a whole batch, and a checkpoint where it is time for one.
    fn advance(&mut self, batch: &Batch<Unit>) -> Result<(), String> {
        let before = self.trainer.steps();
        self.update(batch)?;
        let step = self.trainer.steps();
        if step > before && step.is_multiple_of(self.settings.checkpoint_every) { self.save() } else { Ok(()) }
    }

    /// One update on a batch.
    fn update(&mut self, batch: &Batch<Unit>) -> Result<(), String> {
        self.cursor.pass(batch.new.iter().flatten());
        if self.trainer.steps() >= self.settings.updates {
            self.cursor.unused += batch.new.iter().flatten().count() as u64;
            self.cursor.tell(&mut self.findings.lock());
            return Ok(());
        }
        let mut tokens = self.tokens(&batch.new);
        // What happened to these was counted when they were new.
        let new = tokens.len();
        tokens.extend(batch.again.iter().filter_map(|unit| self.encode(unit).ok()).flat_map(|(tokens, _)| tokens));
        if tokens.is_empty() {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        let reference = self.trainer.reference_logps(&tokens).map_err(|e| e.to_string())?;
        let metrics = self.trainer.step(&tokens, &reference).map_err(|e| e.to_string())?;
        self.record(&metrics, tokens.len() - new, begin.elapsed().as_secs_f64())?;
        let step = self.trainer.steps();
        let measures = step.is_multiple_of(self.settings.validate_every) || step == self.settings.updates;
        if measures { self.validate() } else { Ok(()) }
    }

    /// The tokens of new units; what becomes of each is counted.
    fn tokens(&mut self, units: &[Unit]) -> Vec<TokenPair> {
        let mut all = Vec::new();
        for unit in units {
            match self.encode(unit) {
                Ok((tokens, shortened)) => {
                    self.cursor.shortened += shortened;
                    all.extend(tokens);
                }
                Err(cause) => unit.iter().for_each(|pair| self.skip(pair, &cause)),
            }
        }
        self.cursor.tell(&mut self.findings.lock());
        all
    }

    fn encode(&self, unit: &Unit) -> Result<(Vec<TokenPair>, u64), String> {
        let loss = self.trainer.settings().preference_loss();
        encode(unit, &self.policy, self.settings.max_length, loss.as_ref())
    }

    /// Measures what is held out, as far as it has come.
    fn validate(&mut self) -> Result<(), String> {
        let (policy, max_length) = (&self.policy, self.settings.max_length);
        let loss = self.trainer.settings().preference_loss();
        let encode = |unit: &Unit| encode(unit, policy, max_length, loss.as_ref()).map(|(tokens, _)| tokens);
        let measured = self.stream.held.measure(&self.trainer, encode);
        let Some((measures, pairs)) = measured? else { return Ok(()) };
        let mut row = columns("eval_", &measures);
        row.insert("eval_pairs".into(), pairs as f64);
        self.log(row)
    }

    fn skip(&mut self, pair: &Pair, cause: &str) {
        tracing::warn!(pair = pair.id, cause, "a pair is not trained on");
        self.cursor.skipped.count(&format!("{}: {cause}", pair.id));
        self.cursor.tell(&mut self.findings.lock());
    }

    fn record(&mut self, metrics: &Metrics, replayed: usize, seconds: f64) -> Result<(), String> {
        let mut row = row_of(metrics, seconds);
        // 1 while dialogues were still being played when this update was made.
        row.insert("stream/open".into(), f64::from(u8::from(!self.signals.ended.load(Relaxed))));
        row.extend(counts(self.cursor.shortened, self.cursor.skipped.pairs));
        row.insert("pairs/replayed".into(), replayed as f64);
        self.log(row)
    }

    fn log(&mut self, mut row: BTreeMap<String, f64>) -> Result<(), String> {
        let step = self.trainer.steps();
        self.log.append(step, &row).map_err(|e| e.to_string())?;
        row.insert("step".into(), step as f64);
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

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_string()
}
