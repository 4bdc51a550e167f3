//! What a run that follows its inputs is made of: when the pipeline file or a plugin has become another, the run ends as soon as it is
//! quiet and begins again with what they are then. What does not build, load, check or start leaves the run as it is.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obvert_engine::Registry;
use obvert_engine::pipeline::Plan;
use obvert_engine::stage::sources;
use obvert_stages::Findings;
use obvert_stages::output::word;

use crate::verbs::Trust;
use crate::verbs::said::Said;

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a pipeline is read from, and how.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) set: Vec<String>,
    pub(super) trust: Trust,
}

/// A pipeline as it was read, with all that it needs.
pub(super) struct Read {
    /// Of the files, before they were read.
    pub(super) stamp: u64,
    pub(super) text: String,
    pub(super) plan: Plan,
    pub(super) registry: Registry,
    pub(super) findings: Findings,
}

impl Read {
    pub(super) fn new(place: &Place) -> anyhow::Result<Self> {
        let (stamp, findings) = (place.stamp(), Findings::default());
        let (text, plan, registry) = crate::verbs::plan(&place.path, &place.set, &findings, place.trust)?;
        Ok(Read { stamp, text, plan, registry, findings })
    }

    /// What tells it from another: the text, and what its plugins are.
    fn identity(&self) -> (String, Vec<(String, String)>) {
        (self.text.clone(), self.registry.builds())
    }
}

impl Place {
    /// The command that runs it.
    pub(super) fn command(&self) -> String {
        let set = self.set.iter().map(|set| format!(" --set {}", word(set)));
        let locked = if self.trust == Trust::Pinned { " --locked" } else { "" };
        format!("obvert run {}{}{locked}", word(&self.path.to_string_lossy()), set.collect::<String>())
    }

    /// A number that is another one once the pipeline, or a plugin that it names, may be another.
    fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.hash(&mut hasher);
        let read = |path: &Path| std::fs::read_to_string(path);
        if let Ok(document) = obvert_engine::pipeline::parse_with(&self.path, &text, &self.set, &read) {
            document.files().for_each(|file| file.hash(&mut hasher));
            document.plugins().iter().for_each(|plugin| stamp_of(&plugin.path, &mut hasher));
        }
        hasher.finish()
    }
}

/// Names, sizes and times of the files of a plugin.
fn stamp_of(plugin: &Path, hasher: &mut DefaultHasher) {
    for file in sources(plugin).unwrap_or_default() {
        let known = file.metadata().ok().map(|known| (known.len(), known.modified().ok()));
        (file, known).hash(hasher);
    }
}

/// Looks at the files of a run until it is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    next: Mutex<Option<Read>>,
    renew: Arc<AtomicBool>,
    over: AtomicBool,
}

impl Watcher {
    /// Sets `renew` as long as what is read at the place is another than what runs.
    pub(super) fn start(place: &Place, runs: &Read, renew: Arc<AtomicBool>, said: Said) -> Self {
        let shared = Arc::new(Shared { next: Mutex::default(), renew, over: AtomicBool::new(false) });
        let watching = Watching {
            place: place.clone(),
            name: runs.plan.name.clone(),
            identity: runs.identity(),
            said,
            shared: Arc::clone(&shared),
        };
        let stamp = runs.stamp;
        std::thread::spawn(move || watching.watch(stamp));
        Watcher { shared }
    }

    /// What the run is to begin again with, if it is to be another.
    pub(super) fn next(self) -> Option<Read> {
        self.shared.next().take()
    }
}

impl Shared {
    fn next(&self) -> MutexGuard<'_, Option<Read>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.over.store(true, Relaxed);
    }
}

struct Watching {
    place: Place,
    name: String,
    /// Of what runs.
    identity: (String, Vec<(String, String)>),
    said: Said,
    shared: Arc<Shared>,
}

impl Watching {
    fn watch(&self, mut known: u64) {
        let mut before = known;
        while !self.shared.over.load(Relaxed) {
            std::thread::sleep(PAUSE);
            let stamp = self.place.stamp();
            // A file that is being written is left alone until it rests.
            if stamp != known && stamp == before {
                known = stamp;
                self.read();
            }
            before = stamp;
        }
    }

    fn read(&self) {
        let kept = |why: &str| self.said.tell(&format!("{why}\n\nthe run goes on with what there was before"));
        match Read::new(&self.place) {
            Err(error) => kept(&error.to_string()),
            Ok(read) if read.plan.name != self.name => kept("a pipeline keeps its name while it runs"),
            Ok(read) => {
                let other = read.identity() != self.identity;
                let mut next = self.shared.next();
                *next = Some(read).filter(|_| other);
                self.shared.renew.store(other, Relaxed);
            }
        }
    }
}
