//! Reads the sources, each on a thread of its own: once, or again whenever it may have changed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use obvert_api::abi::reason_of;

use super::Shared;
use crate::dataflow::Place;
use crate::feed::{Changes, Feed};
use crate::registry::Source;

/// Between two looks at the files.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(200);
/// As many times as long as a look takes: looking at many files is not to keep a processor busy.
const REST: u32 = 50;
/// Changes that are handed over together, at most, and their bytes.
const CHUNK: usize = 1024;
const CHUNK_BYTES: usize = 1 << 20;

/// A part of a reading: what it changes, and the first place at which more may come; or why the source cannot be read.
pub(super) type Read = Result<(Changes, Option<Place>), String>;

/// Reads the source of a node; wakes `worker` for what is there to take. The thread ends soon after the run.
pub(super) fn follow(shared: &Arc<Shared>, node: usize, worker: Thread) -> (Receiver<Read>, JoinHandle<()>) {
    let (to, read) = sync_channel(2);
    let shared = Arc::clone(shared);
    let reader = std::thread::spawn(move || {
        let to = Reader { to, worker };
        let Some(source) = shared.stages[node].source.as_ref() else { return };
        match shared.open_feed(node) {
            Ok(feed) => to.follow(&shared, source, feed),
            Err(error) => drop(to.send(Err(error.to_string()))),
        }
    });
    (read, reader)
}

struct Reader {
    to: SyncSender<Read>,
    worker: Thread,
}

/// Nobody wants what is read any more.
struct Unwanted;

impl Reader {
    fn follow(&self, shared: &Shared, source: &Arc<dyn Source>, mut feed: Feed) {
        let mut known = None;
        while !shared.stop.ending.is_closing() {
            // Before reading: what is written meanwhile is seen the next time.
            let look = Instant::now();
            let stamp = Some(source.stamp());
            let pause = (look.elapsed() * REST).clamp(SHORTEST, LONGEST);
            if known != stamp {
                known = stamp;
                let read = catch_unwind(AssertUnwindSafe(|| self.read(shared, source, &mut feed)));
                let read = read.unwrap_or_else(|panic| self.send(Err(reason_of(panic.as_ref()).0)));
                if read.is_err() {
                    // The next run finds new places for what could not be kept.
                    let _ = feed.break_off();
                    return;
                }
            }
            if !shared.watch {
                return;
            }
            std::thread::sleep(pause);
        }
    }

    /// Hands over what a reading changes, part by part.
    fn read(&self, shared: &Shared, source: &Arc<dyn Source>, feed: &mut Feed) -> Result<(), Unwanted> {
        let rows = match source.rows() {
            Ok(rows) => rows,
            Err(cause) => return self.send(Err(cause)),
        };
        feed.begin();
        let (mut changes, mut bytes) = (Changes::new(), 0);
        for row in rows {
            if shared.stop.ending.is_closing() {
                return Err(Unwanted);
            }
            let before = changes.len();
            if let Err(error) = feed.row(row, &mut changes) {
                return self.send(Err(error.to_string()));
            }
            bytes += changes[before..].iter().map(|(fed, _)| fed.item().bytes.0.len()).sum::<usize>();
            if changes.len() >= CHUNK || bytes >= CHUNK_BYTES {
                bytes = 0;
                self.send(Ok((std::mem::take(&mut changes), Some(feed.lowest()))))?;
            }
        }
        let ended = feed.end(&mut changes);
        self.send(ended.map(|()| (changes, None)).map_err(|error| error.to_string()))
    }

    fn send(&self, read: Read) -> Result<(), Unwanted> {
        self.to.send(read).map_err(|_| Unwanted)?;
        self.worker.unpark();
        Ok(())
    }
}
