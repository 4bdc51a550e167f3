//! The same work in a dataflow of timely's own operators, with closures: what the engine's generality costs is seen beside it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use obvert_stream_stages::{Dimension, Note, Tally};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::{Broadcast, Map};
use timely::dataflow::operators::{Input, Probe};
use timely::worker::Worker;

use crate::input::read;
use crate::{Arguments, Done, Work};

/// Records that are handed over between two steps of the dataflow.
const BATCH: usize = 4096;

/// What comes out: tallies, or joined records and their sum.
type Found = (Vec<Tally>, u64, u64);

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let notes: Option<Vec<Note>> = match arguments.memory {
        1 => Some(read(&arguments.input)?.collect::<Result<_, _>>()?),
        _ => None,
    };
    let config = timely::Config::process(arguments.workers);
    let (notes, found) = (Arc::new(Mutex::new(notes)), Arc::new(Mutex::new(Found::default())));
    let (work, input, dims) = (arguments.work, arguments.input.clone(), arguments.dims.clone());
    let all = Arc::clone(&found);
    let begin = Instant::now();
    let guards = timely::execute(config, move |worker| {
        let notes: Box<dyn Iterator<Item = anyhow::Result<Note>>> = match worker.index() {
            0 => match notes.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(held) => Box::new(held.into_iter().map(Ok)),
                None => Box::new(read(&input)?),
            },
            _ => Box::new(std::iter::empty()),
        };
        let dims: Vec<Dimension> = match worker.index() {
            0 => read(&dims)?.collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        drive(worker, work, notes, dims, &all)
    });
    for result in guards.map_err(anyhow::Error::msg)?.join() {
        result.map_err(anyhow::Error::msg)??;
    }
    let (tallies, records, total) = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    let mut text = Vec::new();
    for tally in &tallies {
        serde_json::to_writer(&mut text, tally)?;
        text.push(b'\n');
    }
    if work == Work::Reduce {
        std::fs::write(&arguments.out, text)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let seen = tallies.iter().map(|tally| tally.count).sum::<u64>() + records;
    Ok(Done { records: seen, seconds, result: format!("{records} records {total}") })
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

fn drive(
    worker: &mut Worker,
    work: Work,
    notes: impl Iterator<Item = anyhow::Result<Note>>,
    mut dims: Vec<Dimension>,
    all: &Mutex<Found>,
) -> anyhow::Result<()> {
    let found = Rc::new(RefCell::new(Found::default()));
    let result = Rc::clone(&found);
    let (mut input, mut side, probe) = worker.dataflow(|scope| {
        let (input, notes) = scope.new_input::<Vec<Note>>();
        let (side, dims) = scope.new_input::<Vec<Dimension>>();
        let spread = Exchange::new(|note: &Note| hash(&note.id));
        let notes = notes.unary::<timely::container::CapacityContainerBuilder<_>, _, _, _>(spread, "spread", |_, _| {
            |input, output| {
                input.for_each(|time, data| {
                    if let Some(time) = time.retain_least(0) {
                        output.session(&time).give_container(data);
                    }
                });
            }
        });
        let notes = notes.map(Note::lower).map(Note::count).map(Note::mix).map(Note::tag);
        let by_key = Exchange::new(|note: &Note| hash(&note.key));
        let probe = notes.binary_frontier::<_, timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _, _>(
            dims.broadcast(),
            by_key,
            timely::dataflow::channels::pact::Pipeline,
            "end",
            move |_, _| {
                let mut tallies: HashMap<String, Tally> = HashMap::new();
                let (mut table, mut early) = (HashMap::new(), Vec::new());
                move |(notes, notes_frontier), (dims, dims_frontier), _| {
                    dims.for_each(|_, data| {
                        table.extend(data.drain(..).map(|dimension: Dimension| (dimension.key.clone(), dimension)));
                    });
                    let mut found = found.borrow_mut();
                    notes.for_each(|_, data| early.append(data));
                    match work {
                        Work::Reduce => early.drain(..).for_each(|note: Note| match tallies.get_mut(&note.key) {
                            Some(tally) => tally.add(&note),
                            None => {
                                let mut tally = Tally::new(&note.key);
                                tally.add(&note);
                                tallies.insert(note.key, tally);
                            }
                        }),
                        Work::Join if !dims_frontier.frontier().is_empty() => {}
                        Work::Join => early.drain(..).for_each(|note| {
                            if let Some(dimension) = table.get(&note.key) {
                                found.1 += 1;
                                found.2 = found.2.wrapping_add(note.weigh(dimension).number());
                            }
                        }),
                    }
                    if notes_frontier.frontier().is_empty() {
                        found.0.extend(tallies.drain().map(|(_, tally)| tally));
                    }
                }
            },
        );
        (input, side, probe.probe().0)
    });
    side.send_batch(&mut dims);
    side.close();
    for (at, note) in notes.enumerate() {
        input.send(note?);
        if at % BATCH == BATCH - 1 {
            input.advance_to(at / BATCH + 1);
            worker.step();
        }
    }
    input.close();
    while !probe.done() {
        worker.step_or_park(None);
    }
    let (tallies, records, total) = result.take();
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.0.extend(tallies);
    (all.1, all.2) = (all.1 + records, all.2.wrapping_add(total));
    Ok(())
}
