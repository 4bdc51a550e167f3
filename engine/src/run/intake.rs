//! Takes what is read into the dataflow, as far as there are credits; on the first worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Shared;
use super::follow::{Read, follow};
use crate::dataflow::{Built, Busy, Place, Source, Tick};
use crate::feed::Fed;

/// How long a reader may be at a row, or at looking whether there is anything new, when the run ends.
const GRACE: Duration = Duration::from_secs(2);

/// All sources of a run.
pub(super) struct Intake {
    sources: Vec<Taken>,
}

/// What has been read of one source.
struct Taken {
    node: usize,
    read: Receiver<Read>,
    reader: JoinHandle<()>,
    queue: VecDeque<(Fed, isize)>,
    /// The first place at which more may come behind the queue; none once the reading is at its end.
    lowest: Option<Place>,
    /// The row that says that the source is being read.
    mark: Option<Busy>,
    /// Whether it has been read once.
    complete: bool,
    /// The run drains, and the rest of it is left.
    left: bool,
    /// Up to when its waiting for credit is counted, while it waits.
    blocked: Option<Instant>,
}

impl Intake {
    /// Begins to read all sources; none is thought to be at its end before it has begun.
    pub(super) fn begin(shared: &Arc<Shared>, built: &mut Built) -> Self {
        let begin = |source: &mut Source| {
            let (read, reader) = follow(shared, source.node, std::thread::current());
            let mut taken = Taken {
                node: source.node,
                read,
                reader,
                queue: VecDeque::new(),
                lowest: Some(Place::of_row(source.node, 0)),
                mark: None,
                complete: false,
                left: false,
                blocked: None,
            };
            taken.set_mark(source, taken.lowest);
            taken
        };
        Intake { sources: built.sources.iter_mut().map(begin).collect() }
    }

    /// Takes in what has been read, to happen at `tick`. Sources of side records come first: groups are to find them. Whether
    /// there was anything.
    pub(super) fn go_on(&mut self, shared: &Shared, built: &mut Built, tick: Tick) -> bool {
        let mut any = false;
        let mut sides = true;
        for primary in [false, true] {
            for (taken, source) in self.sources.iter_mut().zip(&mut built.sources) {
                if shared.stages[taken.node].primary == primary && (sides || !primary) {
                    any |= taken.go_on(shared, source, tick);
                }
            }
            sides = self.sources.iter().all(|taken| taken.complete || shared.stages[taken.node].primary);
        }
        any
    }
}

impl Intake {
    /// Waits for the readers of a run that has ended: the next one is to have their files for itself. One that hangs is left.
    pub(super) fn end(self) {
        let readers: Vec<_> = self.sources.into_iter().map(|taken| taken.reader).collect();
        let since = Instant::now();
        while readers.iter().any(|reader| !reader.is_finished()) && since.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Taken {
    fn go_on(&mut self, shared: &Shared, source: &mut Source, tick: Tick) -> bool {
        let any = self.take(shared, source, tick);
        shared.stages[self.node].counts.wait(self.queue.len(), self.lowest.is_none());
        any
    }

    fn take(&mut self, shared: &Shared, source: &mut Source, tick: Tick) -> bool {
        let mut any = false;
        // An edit of what has been read to its end is taken in as a whole.
        self.left |= shared.stop.ending.is_draining() && !self.complete;
        if self.left {
            self.leave(source);
            return any;
        }
        loop {
            let before = self.queue.len();
            let through = self.empty_queue(shared, source, tick);
            any |= self.queue.len() < before;
            self.note_blocked(shared, !through && !shared.paused.load(Relaxed));
            if !through {
                // The edit is whole only with the rest of it.
                self.set_mark(source, self.mark_at().or(Some(Place::of_row(self.node, 0))));
                return any;
            }
            self.set_mark(source, self.lowest);
            self.complete |= self.lowest.is_none();
            match self.read.try_recv() {
                Ok(Ok((changes, lowest))) => {
                    self.queue.extend(changes);
                    self.lowest = lowest;
                }
                Ok(Err(cause)) => self.unreadable(shared, source, cause),
                Err(_) => return any,
            }
        }
    }

    /// What was read and not let in is left: the source is at its end.
    fn leave(&mut self, source: &mut Source) {
        self.queue.clear();
        (self.lowest, self.complete) = (None, true);
        self.set_mark(source, None);
    }

    /// A source that cannot be read for now stays as it was; one that never could ends the run.
    fn unreadable(&mut self, shared: &Shared, source: &mut Source, cause: String) {
        let name = &shared.stages[self.node].plan.name;
        if self.complete {
            tracing::warn!(stage = name, cause, "its rows stay as they were");
            self.lowest = None;
            self.set_mark(source, None);
        } else {
            shared.stop.fail(name, cause);
        }
    }

    /// Whether there were credits for all of it.
    fn empty_queue(&mut self, shared: &Shared, source: &mut Source, tick: Tick) -> bool {
        let super::Prepared { counts, observer, .. } = &shared.stages[self.node];
        let observer = observer.as_ref().filter(|observer| observer.looks());
        while let Some((fed, diff)) = self.queue.front() {
            if let (Fed::Item(item), 1..) = (fed, diff) {
                let bytes = item.bytes.0.len() as u64;
                if !shared.settlement.admit_row(self.node, item.place.root, bytes, tick) {
                    return false;
                }
            }
            let Some((fed, diff)) = self.queue.pop_front() else { break };
            counts.take(diff);
            match fed {
                Fed::Item(item) => {
                    counts.finish(diff, diff);
                    observer.iter().for_each(|observer| observer.see(&item.bytes.0, diff));
                    source.items.update(item, diff);
                }
                Fed::Rejected(rejected) => {
                    counts.reject(diff);
                    source.rejected.update(rejected, diff);
                }
            }
        }
        counts.hold(shared.settlement.outstanding(self.node));
        true
    }

    /// Counts the time in which there is a row and no credit.
    fn note_blocked(&mut self, shared: &Shared, blocked: bool) {
        let now = Instant::now();
        if let Some(since) = self.blocked.replace(now).filter(|_| blocked) {
            shared.stages[self.node].counts.block(now - since);
        }
        self.blocked = self.blocked.filter(|_| blocked);
    }

    fn mark_at(&self) -> Option<Place> {
        self.mark.as_ref().map(|mark| mark.place)
    }

    fn set_mark(&mut self, source: &mut Source, place: Option<Place>) {
        if self.mark_at() == place {
            return;
        }
        let row = |place| Busy { place, what: u64::MAX, credited: false };
        let next = place.map(row);
        let before = std::mem::replace(&mut self.mark, next.clone());
        next.into_iter().for_each(|mark| source.busy.update(mark, 1));
        before.into_iter().for_each(|mark| source.busy.update(mark, -1));
    }
}
