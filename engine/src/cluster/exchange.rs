//! What is given to all processes, through a dataflow of one exchange: a round is over when the frontier has passed it.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_bytes::ByteBuf;
use timely::WorkerConfig;
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::{Exchange, Input, Inspect, Probe};
use timely::execute::execute_from;
use timely::worker::Worker;

use super::socket::Socket;

const PARK: Duration = Duration::from_millis(5);

/// To whom; in which round, from whom; what.
type Message = (u64, (u64, u64), ByteBuf);
/// What a process gives to each, or gets of each.
pub(super) type Parts = Vec<Vec<u8>>;

/// What timely's workers are built from, and what outlives them.
pub(crate) struct Builders(Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// For so many workers in each process.
pub(super) fn builders(sockets: Vec<Option<Socket>>, index: usize, threads: usize) -> std::io::Result<Builders> {
    let processes = ProcessBuilder::new_typed_vector(threads, Hooks::default().refill, None);
    let (builders, guard) = initialize_networking_from_sockets(processes, sockets, index, threads, Hooks::default())?;
    Ok(Builders(builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
}

/// Has every worker of this process do `work`. Fails with what a thread said when it panicked: timely has no other way to say that
/// a connection ended.
pub(crate) fn execute<T: Send + 'static>(
    Builders(builders, others): Builders,
    work: impl Fn(&mut Worker) -> T + Send + Sync + 'static,
) -> Result<Vec<T>, String> {
    // Joining panics where a thread of a connection did.
    let joined = catch_unwind(AssertUnwindSafe(|| {
        execute_from(builders, others, WorkerConfig::default(), work)?.join().into_iter().collect()
    }));
    joined.unwrap_or_else(|_| Err("a connection ended".to_owned()))
}

/// Exchanges what is given until nobody gives any more.
pub(super) fn run(
    builders: Builders,
    count: usize,
    given: Receiver<Parts>,
    deliver: &Sender<Parts>,
) -> Result<(), String> {
    let (given, deliver) = (Mutex::new(given), deliver.clone());
    let work = move |worker: &mut Worker| {
        let given = given.lock().unwrap_or_else(PoisonError::into_inner);
        exchange(worker, count, &given, &deliver);
    };
    execute(builders, work).map(drop)
}

fn exchange(worker: &mut Worker, count: usize, given: &Receiver<Parts>, deliver: &Sender<Parts>) {
    let (probe, received) = (Handle::new(), Rc::new(RefCell::new(BTreeMap::new())));
    let (index, sink) = (worker.index() as u64, Rc::clone(&received));
    let mut input = worker.dataflow(|scope| {
        let (input, stream) = scope.new_input::<Vec<Message>>();
        stream
            .exchange(|(to, _, _)| *to)
            .inspect(move |(_, from, bytes)| drop(sink.borrow_mut().insert(*from, bytes.clone())))
            .probe_with(&probe);
        input
    });
    for (round, parts) in (0_u64..).zip(given) {
        for (to, part) in (0..).zip(parts) {
            match to == index {
                true => drop(received.borrow_mut().insert((round, index), ByteBuf::from(part))),
                false => input.send((to, (round, index), ByteBuf::from(part))),
            }
        }
        input.advance_to(round + 1);
        while probe.less_than(&(round + 1)) {
            worker.step_or_park(Some(PARK));
        }
        // Others may be a round ahead.
        let later = received.borrow_mut().split_off(&(round + 1, 0));
        let all: Parts = received.replace(later).into_values().map(ByteBuf::into_vec).collect();
        // A process that has left gives nothing: all have to give equally often.
        if all.len() < count || deliver.send(all).is_err() {
            return;
        }
    }
}
