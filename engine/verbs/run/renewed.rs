//! What a run that follows its inputs is made of: when the pipeline file or a plugin changes, the run ends as soon as it is quiet and
//! begins again with what they are now. What does not build, load or check leaves the run as it is.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use obvert_engine::Registry;
use obvert_engine::pipeline::Plan;
use obvert_engine::stage::sources;
use obvert_stages::Findings;

use crate::verbs::Trust;

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_millis(200);

/// A pipeline as it was read, with all that it needs.
pub(super) struct Read {
    /// Of the files, before they were read.
    stamp: u64,
    pub(super) text: String,
    pub(super) plan: Plan,
    pub(super) registry: Registry,
    pub(super) findings: Findings,
}

impl Read {
    pub(super) fn new(path: &Path, set: &[String], trust: Trust) -> anyhow::Result<Self> {
        let (stamp, findings) = (stamp(path, set), Findings::default());
        let (text, plan, registry) = crate::verbs::plan(path, set, &findings, trust)?;
        Ok(Read { stamp, text, plan, registry, findings })
    }
}

/// Looks at the files of a run until it is dropped.
pub(super) struct Watcher {
    next: Arc<Mutex<Option<Read>>>,
    over: Arc<AtomicBool>,
}

impl Watcher {
    /// Sets `renew` once the pipeline at `path` is another than was read.
    pub(super) fn start(path: &Path, set: &[String], trust: Trust, read: &Read, renew: Arc<AtomicBool>) -> Self {
        let (next, over) = (Arc::default(), Arc::default());
        let watcher = Watcher { next: Arc::clone(&next), over: Arc::clone(&over) };
        let (path, set) = (path.to_owned(), set.to_owned());
        let mut known = read.stamp;
        std::thread::spawn(move || {
            while !over.load(Relaxed) && !renew.load(Relaxed) {
                std::thread::sleep(PAUSE);
                let stamp = stamp(&path, &set);
                if stamp == known {
                    continue;
                }
                known = stamp;
                match Read::new(&path, &set, trust) {
                    Ok(read) => {
                        next.lock().unwrap_or_else(PoisonError::into_inner).replace(read);
                        renew.store(true, Relaxed);
                    }
                    Err(error) => eprintln!("{error}\n\nthe run goes on with what there was before"),
                }
            }
        });
        watcher
    }

    /// What the run is to begin again with, if that is why it has ended.
    pub(super) fn next(self) -> Option<Read> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// A number that is another one once the pipeline, or a plugin that it names, may be another.
fn stamp(path: &Path, set: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.hash(&mut hasher);
    if let Ok(document) = obvert_engine::pipeline::parse(path, &text, set) {
        document.plugins().iter().for_each(|plugin| stamp_of(&plugin.path, &mut hasher));
    }
    hasher.finish()
}

/// Names, sizes and times of the files of a plugin.
fn stamp_of(plugin: &Path, hasher: &mut DefaultHasher) {
    for file in sources(plugin) {
        let known = file.metadata().ok().map(|known| (known.len(), known.modified().ok()));
        (file, known).hash(hasher);
    }
}
