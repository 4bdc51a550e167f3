//! Lanes: the machine's threads shared out to passes that are computed side by side.
//!
//! A lane is a thread pool and working memory of its own, which it keeps. Pairs do not depend on each other, so lanes that each take
//! some of them hardly ever wait, which threads that share every product do. A result does not depend on how many lanes
//! there are: items are cut the same way, and what they give is handed on in their order.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::buffers::Buffers;
use crate::error::Error;
use crate::real::Real;

/// Threads, with the memory they work in, that take items side by side.
#[derive(Debug)]
pub struct Lanes<F> {
    /// One for every lane at work.
    pools: Vec<rayon::ThreadPool>,
    /// One for every lane that ever was at work, lane by lane.
    memory: Vec<Buffers<F>>,
    threads: usize,
}

impl<F: Real> Default for Lanes<F> {
    /// Lanes for as many threads as the current pool has.
    fn default() -> Self {
        Self { pools: Vec::new(), memory: Vec::new(), threads: rayon::current_num_threads() }
    }
}

impl<F: Real> Lanes<F> {
    /// Shares the threads out to a lane for every item, as far as there are threads.
    fn share(&mut self, items: usize) -> Result<(), Error> {
        let (count, threads) = (items.clamp(1, self.threads), self.threads);
        if self.pools.len() != count {
            self.pools.clear();
            let pools = (0..count).map(|lane| pool(threads / count + usize::from(lane < threads % count)));
            self.pools = pools.collect::<Result<_, _>>()?;
        }
        self.memory.resize_with(self.memory.len().max(count), Buffers::default);
        Ok(())
    }

    /// Bytes of working memory asked of the system so far.
    pub fn asked(&self) -> usize {
        self.memory.iter().map(Buffers::asked).sum()
    }

    /// Does `work` on every item and hands the results to `sink` in the items' order. At most twice as many as there
    /// are lanes are computed or waiting at a time.
    ///
    /// # Errors
    /// The system gives no more threads.
    ///
    /// # Panics
    /// As `work` or `sink` does.
    pub fn run<T: Sync, R: Send>(
        &mut self,
        items: &[T],
        work: impl Fn(&T, &Buffers<F>) -> R + Sync,
        sink: impl FnMut(R) + Send,
    ) -> Result<(), Error> {
        self.share(items.len())?;
        let desk = &Desk::new(items.len(), 2 * self.pools.len(), sink);
        let work = &work;
        std::thread::scope(|scope| {
            let lane = |(pool, buffers): (&'_ rayon::ThreadPool, &'_ Buffers<F>)| {
                let _guard = Abandon(desk);
                while let Some(index) = desk.next() {
                    desk.deliver(index, pool.install(|| work(&items[index], buffers)));
                }
            };
            let lanes: Vec<_> =
                self.pools.iter().zip(&self.memory).map(|both| scope.spawn(move || lane(both))).collect();
            // The scope would say that a thread panicked, and not why.
            if let Some(panic) = lanes.into_iter().find_map(|lane| lane.join().err()) {
                resume_unwind(panic);
            }
        });
        Ok(())
    }
}

fn pool(threads: usize) -> Result<rayon::ThreadPool, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Error::field("threads", error))
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

    const LANES: Lanes<f32> = Lanes { pools: Vec::new(), memory: Vec::new(), threads: 4 };

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
            lanes.pools.iter().map(rayon::ThreadPool::current_num_threads).collect::<Vec<_>>()
        };
        assert_eq!(threads(1), [4]);
        assert_eq!(threads(3), [2, 1, 1]);
        assert_eq!(threads(9), [1, 1, 1, 1]);
    }

    #[test]
    fn memory_outlasts_the_number_of_lanes() {
        let mut lanes = LANES;
        let mut asked = |items: usize| {
            // All at once, so that every lane takes an item.
            let together = std::sync::Barrier::new(items.min(4));
            let work = |_: &usize, buffers: &Buffers<f32>| {
                together.wait();
                drop(buffers.take(10, 5));
            };
            lanes.run(&vec![0; items], work, |()| ()).unwrap();
            lanes.asked()
        };
        assert_eq!([2, 1, 4, 3, 4].map(&mut asked), [400, 400, 800, 800, 800]);
    }

    #[test]
    #[should_panic(expected = "what went wrong")]
    fn a_lane_that_panics_says_why_and_does_not_keep_the_others_from_ending() {
        let work = |item: &u32, _: &Buffers<f32>| assert!(*item != 7, "what went wrong");
        { LANES }.run(&(0..50).collect::<Vec<_>>(), work, |()| ()).unwrap();
    }
}
