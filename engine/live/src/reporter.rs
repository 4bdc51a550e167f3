//! Reports of a run while it goes: its board, and what its stages make. Hands on what people ask of it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use obvert_api::Record;
use obvert_api::record::{Judged, Pair};
use obvert_engine::pipeline::Plan;
use obvert_engine::{Error, Observed, Observer, Observers, Outcome, Progress, Steering};
use obvert_stages::Findings;

use crate::asked::{Ask, taken};
use crate::board::{Board, State, now};
use crate::records::{self, Log};
use crate::tap::Tap;

/// Between two boards.
const EVERY: Duration = Duration::from_millis(500);
/// Between two looks whether the run is over.
const LOOK: Duration = Duration::from_millis(50);
/// Types of records that are kept to be looked at.
const LOGGED: [&str; 2] = [Judged::NAME, Pair::NAME];

/// A run, as those who report of it need it.
#[derive(Clone)]
pub struct Run {
    /// What is run.
    pub plan: Plan,
    /// Folder of the results.
    pub out: PathBuf,
    /// What views have found out so far.
    pub findings: Findings,
    /// By which it is stopped, paused, drained.
    pub steering: Steering,
    /// How many processes share it.
    pub processes: usize,
}

/// Reports of a run: on a thread of its own, from its start to its end.
pub struct Reporter {
    desk: Arc<Desk>,
    started: Option<(Progress, JoinHandle<()>)>,
}

/// What the reporter's thread shares with it.
struct Desk {
    run: Run,
    began: f64,
    watched: Mutex<Vec<Arc<Watched>>>,
    over: AtomicBool,
}

/// A stage that is looked at.
struct Watched {
    /// Of records that people look at afterwards, too.
    log: Option<Log>,
    tap: Tap,
}

impl Observer for Watched {
    fn looks(&self) -> bool {
        self.log.is_some() || self.tap.looks()
    }

    fn see(&self, record: &[u8], copies: isize) {
        self.log.iter().for_each(|log| log.see(record, copies));
        if self.tap.looks() {
            self.tap.see(record, copies);
        }
    }
}

impl Reporter {
    /// Of a run that is to begin.
    pub fn of(run: Run) -> Self {
        let (watched, over) = (Mutex::default(), AtomicBool::new(false));
        Reporter { desk: Arc::new(Desk { run, began: now(), watched, over }), started: None }
    }

    /// Who looks at the run's records.
    pub fn observers(&self) -> Observers {
        let (desk, first) = (Arc::clone(&self.desk), Once::new());
        Arc::new(move |stage: Observed<'_>| {
            // By now it is clear that no other run is in the folder: what an earlier one made there goes, if there is any.
            first.call_once(|| drop(fs::remove_dir_all(records::folder(&desk.run.out))));
            Some(desk.watch(stage) as Arc<dyn Observer>)
        })
    }

    /// Begins. What was asked of an earlier run in the folder is forgotten.
    pub fn start(&mut self, progress: Progress) {
        taken(&self.desk.run.out);
        let (desk, shown) = (Arc::clone(&self.desk), progress.clone());
        self.started = Some((progress, std::thread::spawn(move || desk.follow(&shown))));
    }

    /// Writes the last board.
    pub fn end(self, outcome: &Result<Outcome, Error>) {
        let Reporter { desk, started } = self;
        desk.over.store(true, Relaxed);
        let (progress, thread) = started.unzip();
        // What is there is another run's.
        let elsewhere = matches!(outcome, Err(Error::Taken { .. }));
        if progress.is_none() && (outcome.is_ok() || elsewhere) {
            return;
        }
        // One that panicked is gone already.
        let _ = thread.map(JoinHandle::join);
        desk.flush();
        let (state, cause) = desk.ended(outcome);
        desk.write(progress.as_ref(), state, cause);
    }
}

impl Desk {
    fn watch(&self, stage: Observed<'_>) -> Arc<Watched> {
        let (out, name) = (&self.run.out, format!("{}.{}", stage.stage, stage.record));
        let log = LOGGED.contains(&stage.record).then(|| Log::begin(out, &name).ok()).flatten();
        let watched = Arc::new(Watched { log, tap: Tap::of(out, stage.stage, stage.to_json) });
        self.watched().push(Arc::clone(&watched));
        watched
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, progress: &Progress) {
        while !self.over.load(Relaxed) {
            taken(&self.run.out).into_iter().for_each(|ask| self.obey(ask));
            self.flush();
            self.write(Some(progress), self.state(), None);
            let mut waited = Duration::ZERO;
            while waited < EVERY && !self.over.load(Relaxed) {
                std::thread::sleep(LOOK);
                waited += LOOK;
            }
        }
    }

    fn flush(&self) {
        for watched in self.watched().iter() {
            watched.log.iter().for_each(Log::flush);
            watched.tap.heed();
        }
    }

    fn obey(&self, ask: Ask) {
        let Steering { pause, drain, .. } = &self.run.steering;
        match ask {
            Ask::Pause => pause.store(!drain.load(Relaxed), Relaxed),
            Ask::Resume => pause.store(false, Relaxed),
            // What is under way is to be finished.
            Ask::Drain => {
                pause.store(false, Relaxed);
                drain.store(true, Relaxed);
            }
        }
    }

    fn state(&self) -> State {
        let Steering { pause, drain, .. } = &self.run.steering;
        match (drain.load(Relaxed), pause.load(Relaxed)) {
            (true, _) => State::Draining,
            (false, true) => State::Paused,
            (false, false) => State::Running,
        }
    }

    fn write(&self, progress: Option<&Progress>, state: State, cause: Option<String>) {
        let Run { plan, out, findings, processes, .. } = &self.run;
        let board = Board::of(plan, *processes, progress, &findings.lock());
        let board = Board { began: self.began, state, cause, ..board };
        // A disk that is full is the run's to report.
        if let Err(error) = board.write(out) {
            tracing::debug!(%error, "the board was not written");
        }
    }

    fn ended(&self, outcome: &Result<Outcome, Error>) -> (State, Option<String>) {
        match outcome {
            Ok(outcome) if outcome.interrupted => (State::Interrupted, None),
            Ok(outcome) if outcome.drained => (State::Drained, None),
            // It begins again at once, as what it has become.
            Ok(_) if self.run.steering.renew.load(Relaxed) => (State::Running, None),
            Ok(_) => (State::Done, None),
            Err(error) => (State::Failed, Some(error.to_string())),
        }
    }
}
