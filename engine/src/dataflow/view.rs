//! Stages that see a whole collection as it changes: sinks and the trainer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use differential_dataflow::AsCollection;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::scheduling::SyncActivator;

use super::item::{Bytes, Event, Item, Place};
use super::settle::Ledger;
use super::{Events, Items, Tick};
use crate::count::Counts;

/// A record that came (`diff` > 0) or was withdrawn (`diff` < 0).
#[derive(Clone, Debug)]
pub struct Change {
    /// The source row that it came from; the order in which a view should look at records.
    pub root: u64,
    /// The record.
    pub record: Arc<[u8]>,
    /// Copies.
    pub diff: isize,
}

/// Which records cannot change any more unless an input is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Those with a smaller root.
    Below(u64),
    /// All.
    All,
}

/// What a view made since it was last asked.
#[derive(Debug, Default)]
pub struct Poll {
    /// Records for the stages downstream.
    pub records: Vec<Vec<u8>>,
    /// Still at work: the run goes on.
    pub busy: bool,
}

/// Wakes a view's operator from any thread.
#[derive(Clone)]
pub struct Waker(SyncActivator);

impl Waker {
    /// Has `View::poll` called soon.
    pub fn wake(&self) {
        // Fails only when the dataflow has ended.
        let _ = self.0.activate();
    }
}

/// A sink, or a stage that consumes a whole collection in order.
///
/// **Contract**: `update` gets every change exactly once, tick by tick, and returns soon; long work belongs on a thread.
pub trait View: Send {
    /// Called once, before anything else.
    fn start(&mut self, _waker: Waker) {}
    /// Takes in the changes of one tick.
    fn update(&mut self, changes: Vec<Change>, settled: Settled) -> Result<(), String>;
    /// What was made since the last call.
    fn poll(&mut self) -> Result<Poll, String> {
        Ok(Poll::default())
    }
    /// Called once, when nothing will change any more.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// How a view's failure ends the run.
pub(crate) type OnFailure = Arc<dyn Fn(String) + Send + Sync>;

/// What the operator needs besides its inputs.
pub(crate) struct Watched {
    pub(crate) name: String,
    /// Present on the first worker only.
    pub(crate) view: Option<Box<dyn View>>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) fail: OnFailure,
}

/// The operator; all of it happens on the first worker. `busy` is what is at work upstream.
pub(crate) fn watch<'s>(input: Items<'s>, busy: Events<'s>, watched: Watched) -> Events<'s> {
    let scope = input.scope();
    let Watched { name, mut view, counts, closing, fail } = watched;
    let (route, busy_route) = (Exchange::new(|_: &(Item, Tick, isize)| 0), Exchange::new(|_: &(Event, Tick, isize)| 0));
    input
        .inner
        .binary_frontier::<_, CapacityContainerBuilder<Vec<_>>, _, _, _, _>(
            busy.inner,
            route,
            busy_route,
            &name,
            move |capability, info| {
                if let Some(view) = &mut view {
                    view.start(Waker(scope.worker().sync_activator_for(info.address.to_vec())));
                }
                let mut front: Option<Capability<Tick>> = Some(capability);
                let mut watch = Watch::new(view, counts);
                move |(input, frontier), (busy, busy_frontier), output| {
                    input.for_each(|_, data| watch.changes.append(data));
                    busy.for_each(|_, data| watch.ledger.take(data));
                    let Some(capability) = front.as_mut() else {
                        watch.advance(None).unwrap_or_else(|cause| fail(cause));
                        return;
                    };
                    let next = frontier.frontier().iter().chain(busy_frontier.frontier().iter()).min().copied();
                    let advanced = watch.advance(next).and_then(|()| watch.poll(*capability.time()));
                    advanced.unwrap_or_else(|cause| fail(cause));
                    output.session(&*capability).give_iterator(watch.events.drain(..));
                    match next {
                        Some(time) if !closing.load(Relaxed) => capability.downgrade(&time),
                        _ => front = None,
                    }
                }
            },
        )
        .as_collection()
}

struct Watch {
    view: Option<Box<dyn View>>,
    counts: Arc<Counts>,
    changes: Vec<(Item, Tick, isize)>,
    ledger: Ledger,
    closed: Tick,
    settled: Option<Settled>,
    busy: bool,
    events: Vec<(Event, Tick, isize)>,
    finished: bool,
}

/// The row that stands for a view at work; no source has this root.
const AT_WORK: Event = Event::Busy(Place { root: u64::MAX, lap: 0 }, 0);

impl Watch {
    fn new(view: Option<Box<dyn View>>, counts: Arc<Counts>) -> Self {
        let (changes, events, ledger) = (Vec::new(), Vec::new(), Ledger::default());
        Watch { view, counts, changes, ledger, closed: 0, settled: None, busy: false, events, finished: false }
    }

    /// Hands over what happened before `next`; `None` is the end.
    fn advance(&mut self, next: Option<Tick>) -> Result<(), String> {
        let Some(view) = &mut self.view else {
            return Ok(());
        };
        let closed = next.unwrap_or(Tick::MAX);
        if closed > self.closed {
            self.closed = closed;
            self.ledger.advance(closed);
            let (mut now, later): (Vec<_>, Vec<_>) = self.changes.drain(..).partition(|(_, at, _)| *at < closed);
            self.changes = later;
            now.iter_mut().for_each(|(_, at, _)| *at = 0);
            differential_dataflow::consolidation::consolidate_updates(&mut now);
            self.counts.take(now.iter().map(|(_, _, net)| net).sum());
            let settled = match (next, self.ledger.lowest()) {
                // An end says nothing about what an interrupted run left undone.
                (None, _) => self.settled.unwrap_or(Settled::Below(0)),
                (_, Some(root)) => Settled::Below(root),
                (_, None) => Settled::All,
            };
            if !now.is_empty() || self.settled != Some(settled) {
                self.settled = Some(settled);
                let change =
                    |(item, _, diff): (Item, Tick, isize)| Change { root: item.place.root, record: item.bytes.0, diff };
                view.update(now.into_iter().map(change).collect(), settled)?;
            }
        }
        if next.is_none() && !self.finished {
            self.finished = true;
            view.finish()?;
        }
        Ok(())
    }

    fn poll(&mut self, front: Tick) -> Result<(), String> {
        let Some(view) = &mut self.view else {
            return Ok(());
        };
        let poll = view.poll()?;
        self.counts.make(poll.records.len() as isize);
        for (index, record) in poll.records.into_iter().enumerate() {
            let item = Item { place: Place { root: index as u64, lap: 0 }, bytes: Bytes::from(record) };
            self.events.push((Event::Out(item), front, 1));
        }
        if poll.busy != self.busy {
            self.busy = poll.busy;
            self.events.push((AT_WORK, front, if poll.busy { 1 } else { -1 }));
        }
        Ok(())
    }
}
