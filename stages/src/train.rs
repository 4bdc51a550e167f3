//! `train`: fine-tunes an adapter on the stream of pairs, while it still flows.
//!
//! Pairs are taken in the order of their roots, and a pair only when no earlier one can come any more; a window of them
//! is shuffled from the seed. So the order, the batches and the adapter do not depend on which model call was the
//! faster, and a resumed run makes the same adapter. Pairs wait on disk, however far the trainer is behind. Where an input is
//! edited and they are others, a ledger says which, and the setting `withdrawn` what is done about it.

mod cursor;
mod diary;
mod encode;
mod held;
mod learner;
mod ledger;
mod mirrors;
mod refreshed;
mod replay;
mod sequence;
mod settings;
mod shuffle;
mod stream;
mod updates;
mod versions;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use obvert_api::Record;
use obvert_api::abi::reason_of;
use obvert_api::erased::{decode, encode, to_json};
use obvert_api::record::{Adapter, Pair};
use obvert_engine::pipeline::{Plan, StagePlan};
use obvert_engine::registry::{Body, Entry};
use obvert_engine::{Change, Poll, Registry, RunContext, Settled, Version, View, Waker};
use serde::Deserialize;
use serde_json::Value;

use crate::findings::Findings;
use crate::output::Error;
use crate::pair_set::Lent;
use crate::policy::{Settings, Shelf, settings_of};
use learner::{Learner, Made, Signals};
use ledger::{Difference, Withdrawn};
use sequence::Sequence;
use settings::Train;
pub use updates::{Update, updates_of};
use versions::{ADAPTER, Versions};
pub(crate) use versions::{BASE, stage_of};

/// Adds the stage `train`.
pub(crate) fn register(registry: &mut Registry, shelf: &Shelf, findings: &Findings) {
    let (shelf, findings) = (shelf.clone(), findings.clone());
    let open = move |settings: &Value, context: &RunContext| -> Result<Box<dyn View>, String> {
        let mut settings = Train::deserialize(settings).map_err(|e| e.to_string())?;
        settings.seed = settings.seed.wrapping_add(context.plan.run.seed);
        let learner = open_learner(&settings, context, &shelf, &findings)?;
        let sequence = Sequence::open(&context.out.join("state")).map_err(|e| e.to_string())?;
        Ok(Box::new(Trainee::new(&context.stage, learner, sequence, &settings)))
    };
    let mut entry = Entry::view(Pair::NAME, schemars::schema_for!(Train).to_value(), Arc::new(open));
    entry.output = Some(Adapter::NAME.into());
    entry.to_json = Some(to_json::<Adapter>);
    entry.check = Some(Arc::new(|stage, plan| {
        let settings = Train::deserialize(&stage.settings).map_err(|e| (String::new(), e.to_string()))?;
        settings.check()?;
        model_of(&settings, plan).map(drop).map_err(|cause| ("model".to_string(), cause))
    }));
    registry.add("train", entry);
}

/// Has stages `train` hand the model out as it is, and train nothing.
pub fn leave_untrained(registry: &mut Registry) {
    let trained = registry.entry("train").cloned();
    let open = |_: &Value, _: &RunContext| Ok(Box::new(Untrained(false)) as Box<dyn View>);
    if let Some(trained) = trained {
        registry.add("train", Entry { body: Body::View(Arc::new(open)), ..trained });
    }
}

/// Takes pairs and makes nothing of them; whether it has handed out the base model.
struct Untrained(bool);

impl View for Untrained {
    fn update(&mut self, _: Vec<Change>, _: Settled) -> Result<(), String> {
        Ok(())
    }

    fn poll(&mut self) -> Result<Poll, String> {
        let records = if std::mem::replace(&mut self.0, true) { Vec::new() } else { vec![encoded(&Versions::base())?] };
        Ok(Poll { records, ..Poll::default() })
    }
}

fn open_learner(settings: &Train, context: &RunContext, shelf: &Shelf, findings: &Findings) -> Result<Learner, String> {
    let model = model_of(settings, &context.plan)?;
    Learner::open(settings, shelf.get(&model)?, &model.path.0, context, findings.clone())
}

/// The model that is to be fine-tuned.
fn model_of(settings: &Train, plan: &Plan) -> Result<Settings, String> {
    let name = &settings.model.0;
    let model = plan.models.iter().find(|model| model.name == *name && model.kind == "local");
    let model = model.ok_or_else(|| format!("[model.{name}] is not of kind `local`, so it cannot be trained"))?;
    settings_of(&model.settings)
}

/// An adapter that a run makes.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The stage.
    pub stage: String,
    /// Its folder in the run's.
    pub folder: PathBuf,
    /// The base model's name.
    pub base_model: String,
    /// All settings, as a card lists them.
    pub settings: Value,
}

/// The adapters of a plan.
pub fn trained(plan: &Plan) -> Vec<Trained> {
    let of = |stage: &StagePlan| {
        let settings = Train::deserialize(&stage.settings).ok()?;
        let model = model_of(&settings, plan).ok()?;
        Some(Trained {
            stage: stage.name.clone(),
            folder: plan.folder(&stage.name).join(ADAPTER),
            base_model: versions::name_of(&model.path.0),
            settings: settings.shown(),
        })
    };
    plan.stages.iter().filter(|stage| stage.kind == "train").filter_map(of).collect()
}

/// What the dataflow tells the learner.
enum Told {
    /// The next pair in order, and its root.
    Pair(u64, Lent),
    /// No other pair with a root below this one comes, unless an input is edited.
    Below(u64),
    /// What was told is not what holds now.
    Differs(Vec<Difference>),
    /// The pairs are told again from the first, as they hold now.
    Again,
    /// There are no more pairs.
    End,
}

/// The view's side: puts pairs in order and hands them to the learner's thread.
struct Trainee {
    /// By which name its lines go in the log.
    stage: String,
    learner: Option<Learner>,
    thread: Option<JoinHandle<()>>,
    to: Option<Sender<Told>>,
    made: Option<Receiver<Result<Made, String>>>,
    sequence: Sequence,
    policy: Withdrawn,
    /// Whether adapters on the way are handed out.
    refreshes: bool,
    signals: Signals,
    /// Roots of the pairs that the learner was told and has not taken yet, in order, and how many it took before them: their rows'
    /// credits wait, so that a slow learner slows the sources.
    told: VecDeque<u64>,
    taken: u64,
    /// Roots of pairs that were told since the last look.
    new: Vec<u64>,
    /// Whether the learner knows of pairs, or of none yet, after the last end.
    open: bool,
    /// Ends that it was told and has made no adapter for yet.
    ends: usize,
    /// The adapter that it has made last.
    newest: Option<Vec<u8>>,
}

impl Trainee {
    fn new(stage: &str, learner: Learner, sequence: Sequence, settings: &Train) -> Self {
        Trainee {
            stage: stage.to_owned(),
            learner: Some(learner),
            thread: None,
            to: None,
            made: None,
            sequence,
            policy: settings.withdrawn,
            refreshes: settings.refresh_every.is_some(),
            signals: Signals::default(),
            told: VecDeque::new(),
            taken: 0,
            new: Vec::new(),
            open: true,
            ends: 0,
            newest: None,
        }
    }

    /// Tells of differences between what was told and what holds now.
    fn differ(&mut self, differences: Vec<Difference>) {
        if differences.is_empty() {
            return;
        }
        let (stage, record, pairs) = (&self.stage, &differences[0].pair, differences.len());
        tracing::warn!(stage, record, pairs, "pairs that were handed to the trainer changed, this one first");
        self.open |= self.policy == Withdrawn::ExcludeNextEpoch;
        self.tell(Told::Differs(differences));
    }

    fn hand_over(&mut self, settled: Settled) -> Result<(), Error> {
        self.signals.ended.store(settled == Settled::All, Relaxed);
        let late = self.sequence.late(settled)?;
        self.differ(late);
        if self.policy == Withdrawn::Rollback && self.sequence.differs(settled) {
            self.sequence.rewind();
            self.tell(Told::Again);
            self.open = true;
        }
        while let Some((root, pair)) = self.sequence.next(settled)? {
            self.tell(Told::Pair(root, pair));
            self.told.push_back(root);
            self.new.push(root);
            self.open = true;
        }
        match settled {
            Settled::Below(root) if self.refreshes => self.tell(Told::Below(root)),
            _ => {}
        }
        if settled == Settled::All && self.open {
            self.tell(Told::End);
            (self.open, self.ends) = (false, self.ends + 1);
        }
        self.sequence.compact()
    }

    fn tell(&self, told: Told) {
        // Fails only when the learner has failed; `poll` reports why.
        let _ = self.to.as_ref().map(|to| to.send(told));
    }

    /// Takes the base, or an adapter that was made at an end.
    fn take(&mut self, adapter: &Adapter, poll: &mut Poll) -> Result<(), String> {
        let record = encoded(adapter)?;
        if adapter.version == BASE {
            poll.versions.push(Version { below: 0, record: record.clone() });
            poll.records.push(record);
        } else {
            self.ends -= 1;
            self.replace(record, poll);
        }
        Ok(())
    }

    /// An adapter takes the place of the one before.
    fn replace(&mut self, record: Vec<u8>, poll: &mut Poll) {
        if self.newest.as_ref() == Some(&record) {
            return;
        }
        if let Some(old) = self.newest.replace(record.clone()) {
            // Where both were made since the last look nobody has seen the old one.
            let unseen = poll.records.iter().position(|made| *made == old);
            match unseen {
                Some(at) => drop(poll.records.remove(at)),
                None => poll.withdrawn.push(old),
            }
        }
        poll.records.push(record);
    }

    fn join(&mut self) -> Result<(), String> {
        self.to = None;
        self.thread.take().map_or(Ok(()), JoinHandle::join).map_err(|panic| reason_of(panic.as_ref()).0)
    }
}

fn encoded(adapter: &Adapter) -> Result<Vec<u8>, String> {
    encode(adapter).map_err(|e| e.0)
}

impl View for Trainee {
    fn accepts(&self, record: &[u8]) -> Result<(), String> {
        decode::<Pair>(record).and_then(|pair| pair.whole()).map_err(|e| e.0)
    }

    fn start(&mut self, waker: Waker) {
        let (to, told) = channel();
        let (made_to, made) = channel();
        if let Some(learner) = self.learner.take() {
            let tell = move |made: Result<Made, String>| {
                let _ = made_to.send(made);
                waker.wake();
            };
            let signals = self.signals.clone();
            self.thread = Some(std::thread::spawn(move || learner.learn(told, signals, tell)));
        }
        (self.to, self.made) = (Some(to), Some(made));
    }

    fn update(&mut self, changes: Vec<Change>, settled: Settled) -> Result<(), String> {
        let told = changes.iter().filter_map(|change| self.sequence.change(change).transpose());
        let differences = told.collect::<Result<Vec<_>, String>>()?;
        self.differ(differences);
        self.hand_over(settled).map_err(|e| e.to_string())
    }

    fn poll(&mut self) -> Result<Poll, String> {
        let mut poll = Poll::default();
        while let Some(made) = self.made.as_ref().and_then(|made| made.try_recv().ok()) {
            match made? {
                Made::Adapter(adapter) => self.take(&adapter, &mut poll)?,
                Made::Version(below, adapter) => {
                    poll.versions.push(Version { below, record: encoded(&adapter)? });
                }
                Made::Below(root) => poll.below = Some(root),
            }
        }
        poll.busy = self.open || self.ends > 0;
        poll.work = self.new.drain(..).map(|root| (root, 1)).collect();
        let taken = self.signals.taken.load(Relaxed);
        let done = self.told.drain(..(taken - std::mem::replace(&mut self.taken, taken)) as usize);
        poll.work.extend(done.map(|root| (root, -1)));
        Ok(poll)
    }

    fn finish(&mut self) -> Result<(), String> {
        self.join()
    }

    fn abandon(&mut self) -> Result<(), String> {
        // The learner saves its checkpoint after the update that it is at.
        self.signals.stop.store(true, Relaxed);
        self.join()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use obvert_api::record::Pair;

    /// A pair of a dialogue, with little in it.
    pub(crate) fn pair(id: &str, dialogue: &str) -> Pair {
        let pair = serde_json::json!({
            "id": id, "dialogue": dialogue, "turn": 0, "profile": "p", "prompt": [], "chosen": "", "rejected": "",
            "g": 1, "case": 6, "constraints": [], "chosen_sample": 0, "rejected_sample": 1, "chosen_model": "m",
            "rejected_model": "m",
        });
        serde_json::from_value(pair).unwrap()
    }
}
