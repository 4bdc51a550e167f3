//! Reports of a run while it goes: its board. Hands on what people ask of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use obvert_engine::pipeline::Plan;
use obvert_engine::{Error, Outcome, Progress, Steering};
use obvert_stages::Findings;

use crate::asked::{Ask, taken};
use crate::beat::Beat;
use crate::board::{Board, State, now};

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
    started: Option<(Progress, Beat)>,
}

/// What the reporter's thread shares with it.
struct Desk {
    run: Run,
    began: f64,
}

impl Reporter {
    /// Of a run that is to begin.
    pub fn of(run: Run) -> Self {
        Reporter { desk: Arc::new(Desk { run, began: now() }), started: None }
    }

    /// Begins. What was asked of an earlier run in the folder is forgotten.
    pub fn start(&mut self, progress: Progress) {
        taken(&self.desk.run.out);
        let (desk, shown) = (Arc::clone(&self.desk), progress.clone());
        self.started = Some((progress, Beat::start(move || desk.follow(&shown))));
    }

    /// Writes the last board; the last figures, of a run that has begun.
    pub fn end(self, outcome: &Result<Outcome, Error>) -> Option<Progress> {
        let Reporter { desk, started } = self;
        let (progress, beat) = started.unzip();
        drop(beat);
        // What is there is another run's.
        let elsewhere = matches!(outcome, Err(Error::Taken(_)));
        if progress.is_none() && (outcome.is_ok() || elsewhere) {
            return None;
        }
        let (state, cause) = desk.ended(outcome);
        desk.write(progress.as_ref(), state, cause);
        progress
    }
}

impl Desk {
    fn follow(&self, progress: &Progress) {
        taken(&self.run.out).into_iter().for_each(|ask| self.obey(ask));
        self.write(Some(progress), self.state(), None);
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
