//! Keeps what the stages of a process make, for those who look: the newest records of some, and of all what is asked for just now.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obvert_api::Record;
use obvert_api::record::{Judged, Pair};
use obvert_engine::{Observed, Observer, Observers};

use crate::beat::Beat;
use crate::records::{self, Log, Name};
use crate::tap::{self, Tap};

/// Types of records that are kept to be looked at afterwards, too.
const LOGGED: [&str; 2] = [Judged::NAME, Pair::NAME];

/// Keeps what stages make until it is dropped.
pub struct Watch {
    desk: Arc<Desk>,
    beat: Option<Beat>,
}

/// What it shares with its thread and the run.
struct Desk {
    out: PathBuf,
    process: usize,
    watched: Mutex<Vec<Arc<Watched>>>,
}

/// A stage that is looked at.
struct Watched {
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

impl Watch {
    /// Of a process of a run, which is to begin in a folder.
    pub fn start(out: &Path, process: usize) -> Self {
        let desk = Arc::new(Desk { out: out.to_owned(), process, watched: Mutex::default() });
        let beating = Arc::clone(&desk);
        Watch { desk, beat: Some(Beat::start(move || beating.flush())) }
    }

    /// Who looks at the process's records.
    pub fn observers(&self) -> Observers {
        let desk = Arc::clone(&self.desk);
        Arc::new(move |stage: Observed<'_>| Some(desk.watch(stage) as Arc<dyn Observer>))
    }

    /// Takes away what all processes of an earlier run have kept, once the folder is this run's: before any of its own begins to.
    pub fn clears(&self) -> Arc<dyn Fn() + Send + Sync> {
        let out = self.desk.out.clone();
        Arc::new(move || {
            records::clear(&out);
            tap::clear(&out);
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.beat.take());
        self.desk.flush();
    }
}

impl Desk {
    fn watch(&self, Observed { stage, record, to_json }: Observed<'_>) -> Arc<Watched> {
        let name = Name { stage: stage.to_owned(), record: record.to_owned(), process: self.process };
        let log = LOGGED.contains(&record).then(|| Log::begin(&self.out, &name).ok()).flatten();
        let watched = Arc::new(Watched { log, tap: Tap::of(&self.out, stage, self.process, to_json) });
        self.watched().push(Arc::clone(&watched));
        watched
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) {
        for watched in self.watched().iter() {
            watched.log.iter().for_each(Log::flush);
            watched.tap.heed();
        }
    }
}
