//! Replaces the whole files behind the commits: on a thread, one set at a time, so that a commit does not wait for a large set
//! to be written. Several commits that come meanwhile are one replacement.

use std::path::PathBuf;
use std::thread::JoinHandle;

use obvert_api::abi::reason_of;
use obvert_api::record::Pair;
use obvert_engine::Waker;

use crate::findings::Findings;
use crate::output::{self, Error, Tally};
use crate::spool::Snapshot;

/// The files, and who writes them.
pub(super) struct Replacing {
    folder: PathBuf,
    findings: Findings,
    waker: Option<Waker>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Replacing {
    pub(super) fn new(folder: PathBuf, findings: Findings) -> Self {
        Replacing { folder, findings, waker: None, thread: None }
    }

    /// Wakes the view whenever a replacement has ended.
    pub(super) fn wake(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// Begins to replace the files.
    pub(super) fn begin(&mut self, set: Snapshot) {
        let (folder, findings, waker) = (self.folder.clone(), self.findings.clone(), self.waker.clone());
        self.thread = Some(std::thread::spawn(move || {
            let replaced = output::write_all(&folder, || set.pairs()).and_then(|()| tell(&set, &findings));
            waker.iter().for_each(Waker::wake);
            replaced
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
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.map_err(|panic| reason_of(panic.as_ref()).0)?.map_err(|e| e.to_string())
    }
}

/// Tells the report about the set.
fn tell(set: &Snapshot, findings: &Findings) -> Result<(), Error> {
    let (mut tally, mut example) = (Tally::default(), None);
    for pair in set.pairs() {
        let pair = pair?;
        tally.add(&pair);
        if example.as_ref().is_none_or(|best| worth(best) <= worth(&pair)) {
            example = Some(pair);
        }
    }
    let mut found = findings.lock();
    (found.pairs, found.example) = (tally.summary, example);
    Ok(())
}

/// What makes a pair worth showing: something is reversed in it, the responses differ in much, and it is short.
fn worth(pair: &Pair) -> impl Ord + use<> {
    (pair.case != 6, pair.g.min(4), std::cmp::Reverse(pair.turn))
}
