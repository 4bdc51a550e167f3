//! Replaces the whole files behind the commits: on a thread, one set at a time, so that a commit does not wait for a large set
//! to be written. Several commits that come meanwhile are one replacement, and of a set that is split only the files of
//! dialogues that changed are written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::JoinHandle;

use obvert_api::abi::reason_of;
use obvert_engine::Waker;

use super::examples::Examples;
use crate::findings::Findings;
use crate::output::shards::Shard;
use crate::output::{self, Error, PairsSummary, Tally};
use crate::pair_set::Snapshot;

/// Who is told what the set holds, and by the name of which stage.
pub(super) struct Told {
    pub(super) findings: Findings,
    pub(super) stage: String,
}

/// The files' set, as far as it changed.
pub(super) struct Changed {
    /// Files that the set is split into.
    pub(super) of: u32,
    /// The files that are others now.
    pub(super) files: Vec<(u32, Snapshot)>,
}

/// Who replaces the files.
pub(super) struct Replacing {
    /// Not there while the thread has them.
    files: Option<Files>,
    waker: Option<Waker>,
    thread: Option<JoinHandle<Result<Files, Error>>>,
}

impl Replacing {
    pub(super) fn new(folder: PathBuf, told: Told) -> Self {
        Replacing { files: Some(Files { folder, told, surveys: BTreeMap::new() }), waker: None, thread: None }
    }

    /// Wakes the view whenever a replacement has ended.
    pub(super) fn wake(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// Begins to replace files. None are being replaced when this is called.
    pub(super) fn begin(&mut self, changed: Changed) {
        let Some(mut files) = self.files.take() else { return };
        let waker = self.waker.clone();
        self.thread = Some(std::thread::spawn(move || {
            let replaced = files.replace(&changed);
            waker.iter().for_each(Waker::wake);
            replaced.map(|()| files)
        }));
    }

    /// Whether no replacement is under way.
    ///
    /// # Errors
    /// Why the last one failed.
    pub(super) fn is_idle(&mut self) -> Result<bool, String> {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(false);
        }
        self.wait().map(|()| true)
    }

    /// Waits for the replacement that is under way.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) fn wait(&mut self) -> Result<(), String> {
        if let Some(thread) = self.thread.take() {
            let replaced = thread.join().map_err(|panic| reason_of(panic.as_ref()).0)?;
            self.files = Some(replaced.map_err(|e| e.to_string())?);
        }
        Ok(())
    }
}

/// The files, and what the report is told of each.
struct Files {
    folder: PathBuf,
    told: Told,
    surveys: BTreeMap<u32, Survey>,
}

/// Counts over the pairs of one file, and those worth showing.
struct Survey {
    summary: PairsSummary,
    examples: Examples,
}

impl Files {
    fn replace(&mut self, changed: &Changed) -> Result<(), Error> {
        let of = changed.of;
        for (index, set) in &changed.files {
            output::write_shard(&self.folder, Shard { index: *index, of }, || set.pairs())?;
            self.surveys.insert(*index, Survey::of(set)?);
        }
        output::settle_shards(&self.folder, of)?;
        self.surveys.retain(|index, _| *index < of);
        self.tell();
        Ok(())
    }

    /// Both directions of a pair are of one dialogue, and so in one file: counts add up.
    fn tell(&self) {
        let surveys = || self.surveys.values();
        let mut examples = Examples::default();
        surveys().flat_map(|survey| survey.examples.pairs()).for_each(|pair| examples.offer(pair));
        let mut found = self.told.findings.lock();
        let set = found.pairs.entry(self.told.stage.clone()).or_default();
        set.summary = surveys().fold(PairsSummary::default(), |all, survey| all.and(&survey.summary));
        set.examples = examples.best_first();
    }
}

impl Survey {
    fn of(set: &Snapshot) -> Result<Self, Error> {
        let (mut tally, mut examples) = (Tally::default(), Examples::default());
        for pair in set.pairs() {
            let pair = pair?;
            tally.add(&pair);
            examples.offer(&pair);
        }
        Ok(Survey { summary: tally.summary, examples })
    }
}
