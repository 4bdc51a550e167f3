//! Lanes: the machine's threads shared out to passes that are computed side by side.
//!
//! A lane is a thread pool and working memory of its own. Pairs do not depend on each other, so lanes that each take
//! some of them hardly ever wait, which threads that share every product do. A result does not depend on how many lanes
//! there are: items are cut the same way, and what they give is handed on in their order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::buffers::Buffers;
use crate::error::Error;
use crate::real::Real;

/// Threads, with the memory they work in, that take items side by side.
#[derive(Debug)]
pub struct Lanes<F> {
    lanes: Vec<Lane<F>>,
    threads: usize,
}

#[derive(Debug)]
struct Lane<F> {
    pool: rayon::ThreadPool,
    buffers: Buffers<F>,
}

impl<F: Real> Default for Lanes<F> {
    /// Lanes for as many threads as the current pool has.
    fn default() -> Self {
        Self { lanes: Vec::new(), threads: rayon::current_num_threads() }
    }
}

impl<F: Real> Lanes<F> {
    /// Shares the threads out to a lane for every item, as far as there are threads.
    fn share(&mut self, items: usize) -> Result<(), Error> {
        let (count, threads) = (items.clamp(1, self.threads), self.threads);
        if self.lanes.len() != count {
            self.lanes.clear();
            let lanes = (0..count).map(|lane| Lane::new(threads / count + usize::from(lane < threads % count)));
            self.lanes = lanes.collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Bytes of working memory asked of the system so far.
    pub fn asked(&self) -> usize {
        self.lanes.iter().map(|lane| lane.buffers.asked()).sum()
    }

    /// Does `work` on every item and hands the results to `sink` in the items' order. At most twice as many as there
    /// are lanes are computed or waiting at a time.
    ///
    /// # Errors
    /// The system gives no more threads.
    ///
    /// # Panics
    /// If `work` or `sink` does.
    pub fn run<T: Sync, R: Send>(
        &mut self,
        items: &[T],
        work: impl Fn(&T, &Buffers<F>) -> R + Sync,
        sink: impl FnMut(R) + Send,
    ) -> Result<(), Error> {
        self.share(items.len())?;
        let desk = Desk::new(items.len(), 2 * self.lanes.len(), sink);
        std::thread::scope(|scope| {
            for lane in &self.lanes {
                scope.spawn(|| {
                    let _guard = Abandon(&desk);
                    while let Some(index) = desk.next() {
                        desk.deliver(index, lane.pool.install(|| work(&items[index], &lane.buffers)));
                    }
                });
            }
        });
        Ok(())
    }
}

impl<F: Real> Lane<F> {
    fn new(threads: usize) -> Result<Self, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::field("threads", error))?;
        Ok(Self { pool, buffers: Buffers::default() })
    }
}

/// Where lanes fetch items and deliver results.
struct Desk<R, S> {
    state: Mutex<State<R, S>>,
    changed: Condvar,
    items: usize,
    /// Items that may be ahead of the last one handed on.
    window: usize,
}

struct State<R, S> {
    /// The next item to be fetched, and to be handed on.
    next: usize,
    handed: usize,
    early: BTreeMap<usize, R>,
    sink: S,
    /// A lane panicked: what it had will never come.
    abandoned: bool,
}

impl<R, S: FnMut(R)> Desk<R, S> {
    fn new(items: usize, window: usize, sink: S) -> Self {
        let state = State { next: 0, handed: 0, early: BTreeMap::new(), sink, abandoned: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), items, window }
    }

    /// The next item, once it is not too far ahead; none when all are taken.
    fn next(&self) -> Option<usize> {
        let ahead = |state: &mut State<R, S>| {
            !state.abandoned && state.next < self.items && state.next >= state.handed + self.window
        };
        let waited = self.changed.wait_while(self.lock(), ahead);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let next = state.next;
        state.next += 1;
        (!state.abandoned && next < self.items).then_some(next)
    }

    fn deliver(&self, index: usize, result: R) {
        let mut state = self.lock();
        let State { early, handed, sink, .. } = &mut *state;
        early.insert(index, result);
        while let Some(result) = early.remove(handed) {
            sink(result);
            *handed += 1;
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl<R, S> Desk<R, S> {
    fn lock(&self) -> MutexGuard<'_, State<R, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the other lanes when this one panics, so that they do not wait for it.
struct Abandon<'a, R, S>(&'a Desk<R, S>);

impl<R, S> Drop for Abandon<'_, R, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().abandoned = true;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: Lanes<f32> = Lanes { lanes: Vec::new(), threads: 4 };

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 3, 40] {
            let items: Vec<u64> = (0..count).collect();
            let mut found = Vec::new();
            let slow = |item: &u64, _: &Buffers<f32>| {
                std::thread::sleep(std::time::Duration::from_micros(item * 7 % 5 * 300));
                item * item
            };
            { LANES }.run(&items, slow, |square| found.push(square)).unwrap();
            assert_eq!(found, items.iter().map(|item| item * item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn threads_are_shared_out() {
        let threads = |items| {
            let mut lanes = LANES;
            lanes.share(items).unwrap();
            lanes.lanes.iter().map(|lane| lane.pool.current_num_threads()).collect::<Vec<_>>()
        };
        assert_eq!(threads(1), [4]);
        assert_eq!(threads(3), [2, 1, 1]);
        assert_eq!(threads(9), [1, 1, 1, 1]);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_lane_that_panics_does_not_stop_the_others_from_ending() {
        { LANES }.run(&[0; 50], |_, _| panic!("work"), |()| ()).unwrap();
    }
}
