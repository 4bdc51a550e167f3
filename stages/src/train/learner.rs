//! The learner: pairs in order in, updates, checkpoints and adapters out. Runs on a thread of its own.

mod again;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use obvert_api::abi::reason_of;
use obvert_api::record::{Adapter, Pair};
use obvert_engine::RunContext;
use obvert_trainer::checkpoint::State;
use obvert_trainer::checkpoints::Checkpoints;
use obvert_trainer::reference::ReferenceCache;
use obvert_trainer::{TokenPair, Trainer};

use super::Told;
use super::cursor::{Cursor, resume};
use super::diary::{Diary, Update};
use super::encode::Encoder;
use super::ledger::{Difference, Ledger, Withdrawn};
use super::mirrors::Unit;
use super::refreshed::Refreshed;
use super::replay::Batch;
use super::settings::Train;
use super::stream::Stream;
use super::versions::Versions;
use crate::findings::Findings;
use crate::pair_set::number;
use crate::policy::Policy;

pub(super) struct Learner {
    /// By which name its lines go in the log.
    stage: String,
    settings: Train,
    policy: Arc<Policy>,
    encoder: Encoder,
    trainer: Trainer<f32>,
    /// Log-probs of the pairs so far, for those that come again: replayed, held out, or in a run that goes on.
    reference: ReferenceCache,
    stream: Stream,
    /// Where the trainer stands in the stream.
    cursor: Cursor,
    /// Set while the sequence of pairs, told from its beginning, is still behind a resumed trainer.
    passed: Option<Passed>,
    /// All pairs that were told have roots below this one.
    below: u64,
    checkpoints: Checkpoints,
    versions: Versions,
    refreshed: Refreshed,
    /// What has been made and not been told.
    made: Vec<Made>,
    /// Whether it takes what is left at an end: what is made of that comes too late for any dialogue.
    at_end: bool,
    diary: Diary,
    ledger: Ledger,
    /// The first update that a pair was trained in, by the number of its id.
    trained: HashMap<u64, u64>,
    signals: Signals,
    /// What the learner goes back to where pairs come after the end.
    before_end: Option<Before>,
}

/// Where a learner stood when it was told the end. What it does then, down to a short batch, is what a run does that ends
/// there: with more pairs to come it has to be taken back, so that the adapter is the one of a run that had them all.
struct Before {
    state: State,
    cursor: Cursor,
    stream: Stream,
    /// Of a resumed trainer that the sequence had not caught up with.
    passed: Option<Passed>,
    /// Adapters on the way that were met again until then.
    met: usize,
}

/// Batches that a resumed trainer has behind it, as far as they were told again.
#[derive(Clone, Default)]
struct Passed {
    batches: Vec<Batch<Unit>>,
    /// For each the root that all pairs told until then were below.
    ends: Vec<u64>,
    cursor: Cursor,
}

/// What a learner tells the dataflow.
pub(super) enum Made {
    /// An adapter: the base, or one at an end.
    Adapter(Adapter),
    /// One on the way, made of nothing but pairs whose roots are below this one.
    Version(u64, Adapter),
    /// The pairs whose roots are below this one have been taken in.
    Below(u64),
}

/// What the dataflow signals to a learner beside the pairs, at once.
#[derive(Clone, Default)]
pub(super) struct Signals {
    /// Leave the pairs that you were told of untouched.
    pub(super) stop: Arc<AtomicBool>,
    /// The last pair has come: no dialogue is being played any more.
    pub(super) ended: Arc<AtomicBool>,
    /// So many pairs that were told have been taken: what is told beyond them waits.
    pub(super) taken: Arc<AtomicU64>,
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
        let (mut trainer, mut cursor) = resume(&context.stage, settings, &policy, &checkpoints)?;
        let handed_out = state.join(format!("{}.versions.jsonl", context.stage));
        let mut refreshed =
            Refreshed::open(&handed_out, &state.join("adapters"), settings.refresh_every).map_err(|e| e.to_string())?;
        if refreshed.lacks(trainer.steps()) {
            tracing::warn!(
                stage = context.stage,
                "adapters that dialogues were played with are not there any more: training starts over"
            );
            // The model may fill a device: there is room for one trainer.
            trainer.start_over(settings.adapter(&policy).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
            cursor = Cursor::new(settings, &policy);
        }
        refreshed.go_back(trainer.steps()).map_err(|e| e.to_string())?;
        let known = state.join(format!("{}.reference.cache", context.stage));
        let reference = ReferenceCache::open(Some(&known), policy.identity(), &trainer).map_err(|e| e.to_string())?;
        Ok(Learner {
            stage: context.stage.clone(),
            settings: settings.clone(),
            encoder: Encoder::new(settings, Arc::clone(&policy)),
            policy,
            reference,
            stream: Stream::new(&context.stage, settings),
            passed: (cursor.pairs > 0).then(Default::default),
            cursor,
            below: 0,
            checkpoints,
            refreshed,
            made: Vec::new(),
            at_end: false,
            versions: Versions::new(path, context),
            diary: Diary::open(context, trainer.steps(), findings)?,
            ledger: Ledger::open(&state.join(format!("{}.ledger.jsonl", context.stage)), settings.withdrawn)
                .map_err(|e| e.to_string())?,
            trained: HashMap::new(),
            trainer,
            signals: Signals::default(),
            before_end: None,
        })
    }

    /// Learns until it is told to stop, or until nobody tells it anything any more; each time that it is told the end it makes an
    /// adapter.
    pub(super) fn learn(mut self, told: Receiver<Told>, signals: Signals, tell: impl Fn(Result<Made, String>)) {
        self.signals = signals;
        tell(Ok(Made::Adapter(Versions::base())));
        let learned = catch_unwind(AssertUnwindSafe(|| self.follow(told, &tell)));
        if let Err(cause) = learned.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()).0)) {
            tell(Err(cause));
        }
    }

    fn follow(&mut self, told: Receiver<Told>, tell: &impl Fn(Result<Made, String>)) -> Result<(), String> {
        while let (false, Ok(message)) = (self.stopped(), told.recv()) {
            match message {
                Told::Pair(root, pair) => {
                    self.go_back()?;
                    self.below = self.below.max(root + 1);
                    let pair = Arc::new(pair.pair().map_err(|e| e.to_string())?);
                    self.stream.push(pair, &self.encoder).map_or(Ok(()), |batch| self.take(batch))?;
                    self.signals.taken.fetch_add(1, Relaxed);
                }
                Told::Below(root) => self.made.push(Made::Below(root)),
                Told::Differs(differences) => self.differ(&differences)?,
                Told::Again => self.begin_again()?,
                Told::End => {
                    if !self.drain()? {
                        break;
                    }
                    self.made.push(Made::Adapter(self.versions.save(&self.trainer)?));
                }
            }
            self.made.drain(..).for_each(|made| tell(Ok(made)));
        }
        // At the end a checkpoint was saved before the last batch.
        if self.before_end.is_none() { self.save() } else { Ok(()) }
    }

    /// Some of the pairs that were told do not hold, or others hold beside them.
    fn differ(&mut self, differences: &[Difference]) -> Result<(), String> {
        let update = |id: &str| self.trained.get(&number(id)).copied();
        self.ledger.note(differences, update).map_err(|e| e.to_string())?;
        if self.settings.withdrawn == Withdrawn::ExcludeNextEpoch {
            self.go_back()?;
            let gone = differences.iter().filter(|difference| difference.diff < 0);
            gone.for_each(|difference| self.stream.forget(&difference.pair));
        }
        Ok(())
    }

    /// Takes back what was done at an end that was none.
    fn go_back(&mut self) -> Result<(), String> {
        let Some(Before { state, cursor, stream, passed, met }) = self.before_end.take() else { return Ok(()) };
        let step = state.step;
        self.trainer.resume(state).map_err(|e| e.to_string())?;
        self.refreshed.go_back(step).map_err(|e| e.to_string())?;
        self.refreshed.met = met;
        (self.cursor, self.stream, self.passed) = (cursor, stream, passed);
        self.diary.go_back(step)
    }

    fn stopped(&self) -> bool {
        self.signals.stop.load(Relaxed)
    }

    /// Takes what is left in the stream; whether it came to the end of it.
    fn drain(&mut self) -> Result<bool, String> {
        self.at_end = true;
        let drained = self.take_rest();
        self.at_end = false;
        drained
    }

    fn take_rest(&mut self) -> Result<bool, String> {
        let state = self.trainer.state().map_err(|e| e.to_string())?;
        let (cursor, stream, passed) = (self.cursor.clone(), self.stream.clone(), self.passed.clone());
        let before = Before { state, cursor, stream, passed, met: self.refreshed.met };
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
        self.tell();
        self.before_end = Some(before);
        Ok(true)
    }

    /// One update on a whole batch, the last of the pairs below a root; an adapter and a checkpoint where it is time for them.
    fn advance(&mut self, batch: &Batch<Unit>, below: u64) -> Result<(), String> {
        let before = self.trainer.steps();
        self.update(batch)?;
        let step = self.trainer.steps();
        if step > before && self.refreshed.is_due(step) {
            let adapter = self.versions.keep(&self.trainer)?;
            self.refreshed.note(&self.cursor, &adapter).map_err(|e| e.to_string())?;
            self.hand_out(below, adapter);
        }
        if step > before && step.is_multiple_of(self.settings.checkpoint_every) { self.save() } else { Ok(()) }
    }

    fn hand_out(&mut self, below: u64, adapter: Adapter) {
        if !self.at_end {
            self.made.push(Made::Version(below, adapter));
        }
    }

    /// One update on a batch.
    fn update(&mut self, batch: &Batch<Unit>) -> Result<(), String> {
        self.cursor.pass(batch.new.iter().flatten());
        if self.trainer.steps() >= self.settings.updates {
            self.cursor.unused += batch.new.iter().flatten().count() as u64;
            self.tell();
            return Ok(());
        }
        let (mut tokens, pairs) = self.tokens(&batch.new);
        self.tell();
        let mut again = Vec::new();
        // What happened to these was counted when they were new.
        for (unit, (more, _)) in batch.again.iter().filter_map(|unit| Some((unit, self.encoder.encode(unit).ok()?))) {
            tokens.extend(more);
            again.extend(ids(unit));
        }
        if tokens.is_empty() { Ok(()) } else { self.step(&tokens, pairs, again) }
    }

    /// One update on pairs, new ones and earlier ones by their ids, and a measurement where it is time for one.
    fn step(&mut self, tokens: &[TokenPair], pairs: Vec<String>, again: Vec<String>) -> Result<(), String> {
        let begin = Instant::now();
        let reference = self.reference.logps(&mut self.trainer, tokens).map_err(|e| e.to_string())?;
        let metrics = self.trainer.step(tokens, &reference).map_err(|e| e.to_string())?;
        let open = !self.signals.ended.load(Relaxed);
        let update = Update { open, pairs, again, seconds: begin.elapsed().as_secs_f64() };
        self.diary.updated(&metrics, update, &self.counted())?;
        self.tell();
        let Train { validate_every, updates, .. } = self.settings;
        if metrics.step.is_multiple_of(validate_every) || metrics.step == updates { self.validate() } else { Ok(()) }
    }

    /// The tokens of new units, for the next update, and the ids of their pairs; what becomes of each is counted.
    fn tokens(&mut self, units: &[Unit]) -> (Vec<TokenPair>, Vec<String>) {
        let (mut all, mut used) = (Vec::new(), Vec::new());
        for unit in units {
            match self.encoder.encode(unit) {
                Ok((tokens, shortened)) => {
                    let update = self.trainer.steps() + 1;
                    self.trained.extend(unit.iter().map(|pair| (number(&pair.id), update)));
                    self.cursor.shortened += shortened;
                    all.extend(tokens);
                    used.extend(ids(unit));
                }
                Err(cause) => unit.iter().for_each(|pair| self.skip(pair, &cause)),
            }
        }
        (all, used)
    }

    fn skip(&mut self, pair: &Pair, cause: &str) {
        tracing::warn!(stage = self.stage, record = pair.id, cause, "a pair is not trained on");
        self.cursor.skipped.count(&format!("{}: {cause}", pair.id));
    }

    /// Tells how far it has come.
    fn tell(&self) {
        self.diary.tell(self.counted().training(self.trainer.steps(), self.settings.updates));
    }

    /// The cursor with all that is skipped: held-out pairs are counted as they come, whichever update they come before.
    fn counted(&self) -> Cursor {
        self.cursor.and_skipped(&self.stream.held.skipped)
    }

    /// Measures what is held out, as far as it has come.
    fn validate(&mut self) -> Result<(), String> {
        let measured = self.stream.held.measure(&mut self.trainer, &mut self.reference)?;
        let Some((measures, pairs)) = measured else { return Ok(()) };
        self.diary.measured(self.trainer.steps(), &measures, pairs)
    }

    fn save(&mut self) -> Result<(), String> {
        self.diary.sync()?;
        let cursor = serde_json::to_value(&self.cursor).map_err(|e| e.to_string())?;
        self.checkpoints.save(&self.trainer, &cursor).map_err(|e| e.to_string())
    }
}

fn ids(unit: &Unit) -> impl Iterator<Item = String> {
    unit.iter().map(|pair| pair.id.clone())
}
