//! Each worker's loop: feed the sources, tick, stop when the first worker sees that nothing is at work.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use timely::worker::Worker;

use super::Shared;
use crate::Error;
use crate::dataflow::{Built, Event, Item, Place, build};

/// Longest pause between two looks at the clock while nothing happens.
const PARK: Duration = Duration::from_millis(1);

/// Runs the dataflow on `workers` threads until it is quiet or told to stop.
pub(super) fn drive(shared: Arc<Shared>, workers: usize) -> Result<(), Error> {
    let config = if workers > 1 { timely::Config::process(workers) } else { timely::Config::thread() };
    let guards = timely::execute(config, move |worker| run_worker(worker, &shared)).map_err(Error::Dataflow)?;
    for result in guards.join() {
        result.map_err(Error::Dataflow)?;
    }
    Ok(())
}

/// Drives one worker. Where its part of the dataflow panics, the others are told, and everything is dropped as it
/// stands: timely itself would wait for the lost worker for ever.
fn run_worker(worker: &mut Worker, shared: &Shared) {
    let driven = catch_unwind(AssertUnwindSafe(|| drive_worker(worker, shared)));
    if driven.is_err() {
        shared.ending.lose();
    }
    if shared.ending.is_lost() {
        worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
    }
    if let Err(panic) = driven {
        resume_unwind(panic);
    }
}

fn drive_worker(worker: &mut Worker, shared: &Shared) {
    let graph = shared.graph(worker.index());
    let mut built: Built = worker.dataflow(|scope| build(scope, graph));
    if worker.index() == 0 {
        feed(shared, &mut built);
    }
    let mut tick = 0;
    let mut ticked = Instant::now();
    while !shared.ending.is_closing() {
        if tick == 0 || (!built.probe.less_than(&tick) && ticked.elapsed() > PARK / 2) {
            tick += 1;
            ticked = Instant::now();
            for (_, source) in &mut built.sources {
                source.advance_to(tick);
                source.flush();
            }
        }
        worker.step_or_park(Some(PARK));
        if worker.index() == 0 {
            shared.watch_over();
        }
    }
    drop(built.sources);
    while worker.has_dataflows() && !shared.ending.is_lost() {
        worker.step_or_park(Some(PARK));
    }
}

/// Reads all rows of all sources. A source's rows have rising roots; sources follow one another in the file's order.
fn feed(shared: &Shared, built: &mut Built) {
    for (node, input) in &mut built.sources {
        let stage = &shared.stages[*node];
        let Some(rows) = stage.rows.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            continue;
        };
        for (line, row) in rows.enumerate() {
            let place = Place { root: (*node as u64) << 48 | (line as u64) << 8, lap: 0 };
            stage.counts.take(1);
            let event = match row {
                Ok(record) => {
                    stage.counts.finish(1, 1);
                    Event::Out(Item { place, bytes: record.into() })
                }
                Err((found, reason)) => {
                    stage.counts.reject(1);
                    Event::Rejected(Item { place, bytes: found.into_bytes().into() }, reason)
                }
            };
            input.update(event, 1);
        }
    }
}
