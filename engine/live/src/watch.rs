//! Keeps what the stages of a process make, for those who look: the newest records of some, and of all what is asked for just now.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use obvert_api::Record;
use obvert_api::record::{Judged, Pair};
use obvert_engine::{Observed, Observer, Observers};

use crate::records::{Log, Name, clear};
use crate::tap::Tap;

/// Until what was kept is seen.
const EVERY: Duration = Duration::from_millis(500);
/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);
/// Types of records that are kept to be looked at afterwards, too.
const LOGGED: [&str; 2] = [Judged::NAME, Pair::NAME];

/// Keeps what stages make until it is dropped.
pub struct Watch {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// What it shares with its thread and the run.
struct Desk {
    out: PathBuf,
    process: usize,
    processes: usize,
    watched: Mutex<Vec<Arc<Watched>>>,
    over: AtomicBool,
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
    /// Of one of so many processes of a run, which is to begin in a folder.
    pub fn start(out: &Path, process: usize, processes: usize) -> Self {
        let (watched, over) = (Mutex::default(), AtomicBool::new(false));
        let desk = Arc::new(Desk { out: out.to_owned(), process, processes, watched, over });
        let thread = {
            let desk = Arc::clone(&desk);
            std::thread::spawn(move || desk.follow())
        };
        Watch { desk, thread: Some(thread) }
    }

    /// Who looks at the process's records.
    pub fn observers(&self) -> Observers {
        let (desk, first) = (Arc::clone(&self.desk), Once::new());
        Arc::new(move |stage: Observed<'_>| {
            // By now it is clear that no other run is in the folder: what an earlier one made there goes, if there is any.
            first.call_once(|| desk.clear());
            Some(desk.watch(stage) as Arc<dyn Observer>)
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.desk.over.store(true, Relaxed);
        // One that panicked is gone already.
        let _ = self.thread.take().map(JoinHandle::join);
        self.desk.flush();
    }
}

impl Desk {
    /// Each process takes its own away; the first one those of processes, too, that there are no more.
    fn clear(&self) {
        let gone = |process: usize| process == self.process || self.process == 0 && process >= self.processes;
        clear(&self.out, gone);
    }

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

    fn follow(&self) {
        while !self.over.load(Relaxed) {
            self.flush();
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
}
