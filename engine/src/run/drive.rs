//! Each worker's loop: feed the sources, tick, stop when the first worker sees that nothing is at work.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use timely::worker::Worker;

use super::Shared;
use super::follow::{Read, follow};
use crate::Error;
use crate::dataflow::{Built, Event, build};
use crate::feed::Feed;
use crate::registry::Row;

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
fn run_worker(worker: &mut Worker, shared: &Arc<Shared>) {
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

fn drive_worker(worker: &mut Worker, shared: &Arc<Shared>) {
    let graph = shared.graph(worker.index());
    let mut built: Built = worker.dataflow(|scope| build(scope, graph));
    let mut feeding = (worker.index() == 0).then(|| Feeding::new(shared, &built));
    feeding.iter_mut().for_each(|feeding| feeding.begin(&mut built));
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
        if let Some(feeding) = &mut feeding {
            feeding.go_on(&mut built);
            shared.watch_over();
        }
    }
    drop(built.sources);
    while worker.has_dataflows() && !shared.ending.is_lost() {
        worker.step_or_park(Some(PARK));
    }
}

/// What goes into the sources, on the first worker.
struct Feeding<'a> {
    shared: &'a Shared,
    read: Receiver<Read>,
    feeds: HashMap<usize, Feed>,
}

impl<'a> Feeding<'a> {
    fn new(shared: &'a Arc<Shared>, built: &Built) -> Self {
        let mut feeds = HashMap::new();
        for (node, _) in &built.sources {
            match shared.open_feed(*node) {
                Ok(feed) => drop(feeds.insert(*node, feed)),
                Err(error) => shared.fail(&shared.stages[*node].plan.name, error.to_string()),
            }
        }
        Feeding { shared, read: follow(shared), feeds }
    }

    /// Takes all sources in, so that none is thought to be at its end before it has begun.
    fn begin(&mut self, built: &mut Built) {
        for _ in 0..built.sources.len() {
            let Ok((node, rows)) = self.read.recv() else { return };
            match rows {
                Ok(rows) => self.take(built, node, rows),
                Err(cause) => self.shared.fail(&self.shared.stages[node].plan.name, cause),
            }
        }
    }

    /// Takes in what has changed since. A source that cannot be read for now stays as it was.
    fn go_on(&mut self, built: &mut Built) {
        while let Ok((node, rows)) = self.read.try_recv() {
            match rows {
                Ok(rows) => self.take(built, node, rows),
                Err(cause) => {
                    tracing::warn!(stage = self.shared.stages[node].plan.name, cause, "its rows stay as they were")
                }
            }
        }
    }

    fn take(&mut self, built: &mut Built, node: usize, rows: Vec<Row>) {
        let stage = &self.shared.stages[node];
        let changes = self.feeds.get_mut(&node).map(|feed| feed.replace(rows.into_iter()));
        let changes = match changes.transpose() {
            Ok(changes) => changes.unwrap_or_default(),
            Err(error) => return self.shared.fail(&stage.plan.name, error.to_string()),
        };
        let Some((_, input)) = built.sources.iter_mut().find(|(source, _)| *source == node) else { return };
        for (event, diff) in changes {
            stage.counts.take(diff);
            match event {
                Event::Rejected(..) => stage.counts.reject(diff),
                _ => stage.counts.finish(diff, diff),
            }
            input.update(event, diff);
        }
    }
}
