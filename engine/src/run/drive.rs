//! Each worker's loop: feed the sources, tick, stop when the first worker sees that nothing is at work.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::worker::Worker;

use super::Shared;
use super::intake::Intake;
use crate::Error;
use crate::cluster::{Builders, execute};
use crate::dataflow::{Built, build};

/// Longest pause between two looks at the clock while nothing happens.
const PARK: Duration = Duration::from_millis(1);

/// Runs the dataflow on `workers` threads, beside those of other processes, until it is quiet or told to stop.
pub(super) fn drive(shared: Arc<Shared>, workers: usize, beside: Option<Builders>) -> Result<(), Error> {
    if let Some(builders) = beside {
        return execute(builders, move |worker| run_worker(worker, &shared)).map(drop).map_err(Error::Dataflow);
    }
    let config = if workers > 1 { timely::Config::process(workers) } else { timely::Config::thread() };
    let guards = timely::execute(config, move |worker| run_worker(worker, &shared)).map_err(Error::Dataflow)?;
    for result in guards.join() {
        result.map_err(Error::Dataflow)?;
    }
    Ok(())
}

/// Drives one worker. Where its part of the dataflow panics, the others are told, and everything is dropped as it
/// stands: timely itself would wait for the lost worker for ever.
fn run_worker(worker: &mut Worker, shared: &Arc<Shared>) {
    let driven = catch_unwind(AssertUnwindSafe(|| drive_worker(worker, shared)));
    if driven.is_err() {
        shared.stop.ending.lose();
    }
    if shared.stop.ending.is_lost() {
        worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
    }
    if let Err(panic) = driven {
        resume_unwind(panic);
    }
}

fn drive_worker(worker: &mut Worker, shared: &Arc<Shared>) {
    let company = shared.company.as_ref();
    if let Some(company) = company {
        company.carry(worker, shared);
    }
    // The first worker of this process.
    let leads = company.is_none_or(|company| worker.index().is_multiple_of(company.threads));
    let graph = shared.graph(worker.index());
    let mut built: Built = worker.dataflow(|scope| build(scope, graph));
    let mut intake = (worker.index() == 0).then(|| Intake::begin(shared, &mut built));
    let mut tick = 0;
    let mut ticked = Instant::now();
    while !shared.stop.ending.is_closing() {
        // A tick is closed before more is taken in: only then are credits known to be back.
        let closed = tick == 0 || !built.probe.less_than(&tick);
        let fed = closed && intake.as_mut().is_some_and(|intake| intake.go_on(shared, &mut built, tick));
        if closed && (fed || tick == 0 || ticked.elapsed() > PARK / 2) {
            tick += 1;
            ticked = Instant::now();
            built.sources.iter_mut().for_each(|source| source.advance_to(tick));
        }
        worker.step_or_park(Some(if fed { Duration::ZERO } else { PARK }));
        if intake.is_some() {
            shared.watch_over();
        }
        if let Some(company) = company.filter(|_| leads) {
            company.watch_over(shared);
        }
    }
    if let Some(company) = company.filter(|_| leads) {
        company.part(shared);
    }
    drop(built.sources);
    while worker.has_dataflows() && !shared.stop.ending.is_lost() {
        worker.step_or_park(Some(PARK));
        if company.is_some_and(|company| company.others.are_lost()) {
            shared.stop.ending.lose();
        }
    }
    if let Some(intake) = intake {
        intake.end();
    }
}
