//! Stages that see a whole collection as it changes: sinks and the trainer.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

use super::ending::Ending;
use super::item::{Busy, Bytes, Item, Place};
use super::ledger::Ledger;
use super::port::{Emitted, Ports, gather, lowest, open_tick};
use super::version::Versions;
use super::{Busys, Items, Made, Tick, Update};
use crate::count::Counts;
use obvert_api::abi::reason_of;

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
    /// Records made before that hold no more.
    pub withdrawn: Vec<Vec<u8>>,
    /// Still at work: the run goes on.
    pub busy: bool,
    /// Records by root that it began to work on (> 0) or is done with (< 0): their rows' credits wait for it, so that a slow
    /// view slows the sources.
    pub work: Vec<(u64, isize)>,
    /// New versions, each made of more than those before it.
    pub versions: Vec<Version>,
    /// All records whose roots are below this one have been taken in, whenever they make a version.
    pub below: Option<u64>,
}

/// A record for what is made in step with the view (see [`crate::registry::Entry::lag`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// It was made of nothing but records whose roots are below this one.
    pub below: u64,
    /// The record.
    pub record: Vec<u8>,
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
/// A view that panics ends the run as one that fails.
pub trait View: Send {
    /// Whether the record is one that the view can use; one that is not is set aside. Must be pure.
    fn accepts(&self, _record: &[u8]) -> Result<(), String> {
        Ok(())
    }
    /// Called once, before anything else.
    fn start(&mut self, _waker: Waker) {}
    /// Takes in the changes of one tick.
    fn update(&mut self, changes: Vec<Change>, settled: Settled) -> Result<(), String>;
    /// What was made since the last call.
    fn poll(&mut self) -> Result<Poll, String> {
        Ok(Poll::default())
    }
    /// Called after changes, once what the view holds cannot change any more unless an input is edited. This is where a sink
    /// replaces its files.
    fn commit(&mut self) -> Result<(), String> {
        Ok(())
    }
    /// Called once, after the last commit, when nothing will change any more.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
    /// Called instead of `finish` when the run is cut off: what came so far is not the whole.
    fn abandon(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// How a view's failure ends the run: its name and the cause.
pub(crate) type OnFailure = Arc<dyn Fn(&str, String) + Send + Sync>;

/// What the operator needs besides its inputs.
pub(crate) struct Watched {
    pub(crate) name: String,
    /// Present on the first worker only.
    pub(crate) view: Option<Box<dyn View>>,
    pub(crate) counts: Arc<Counts>,
    /// Where its versions go.
    pub(super) versions: Arc<Versions>,
    pub(crate) ending: Ending,
    pub(crate) fail: OnFailure,
}

/// The operator; all of it happens on the first worker. `busy` is what is at work upstream.
pub(crate) fn watch<'s>(input: Items<'s>, busy: Busys<'s>, watched: Watched) -> Made<'s> {
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(watched.name.clone(), scope);
    let mut input = builder.new_input(input.inner, Exchange::new(|_: &Update<Item>| 0));
    let mut upstream = builder.new_input(busy.inner, Exchange::new(|_: &Update<Busy>| 0));
    let (ports, made) = Ports::new(&mut builder);
    let waker = Waker(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    builder.build(move |mut capabilities| {
        let mut ports = ports.hold(&mut capabilities);
        let mut watch = Watch::new(watched);
        watch.start(waker);
        move |frontiers| {
            input.for_each(|_, data| gather(&mut watch.changes, data));
            upstream.for_each(|_, data| watch.ledger.take(data));
            let next = lowest(frontiers);
            let Some(front) = ports.front() else { return watch.end(next) };
            let begin = Instant::now();
            watch.turn(next, front);
            watch.counts.work(begin.elapsed());
            ports.give(&mut watch.emitted, open_tick(frontiers, &watch.ending));
            watch.end(next);
        }
    });
    made
}

struct Watch {
    name: String,
    /// Gone once it has finished, failed or was abandoned.
    view: Option<Box<dyn View>>,
    counts: Arc<Counts>,
    versions: Arc<Versions>,
    ending: Ending,
    fail: OnFailure,
    changes: Vec<Update<Item>>,
    ledger: Ledger,
    closed: Tick,
    settled: Option<Settled>,
    /// Whether the view holds changes that it has not committed.
    uncommitted: bool,
    /// Whether it has ever committed: a view of nothing does so at the end.
    committed: bool,
    /// Records that the view made, and their places.
    made: HashMap<Vec<u8>, Place>,
    /// Whether it said that it is at work.
    at_work: bool,
    /// Records that it is at work on, by root.
    work: HashMap<u64, isize>,
    emitted: Emitted,
}

/// The row that stands for a view at work on nothing in particular; no source has this root.
const AT_WORK: Busy = Busy { place: Place { root: u64::MAX, lap: 0 }, what: 0, credited: false };

impl Watch {
    fn new(watched: Watched) -> Self {
        let Watched { name, view, counts, versions, ending, fail } = watched;
        let (changes, ledger) = (Vec::new(), Ledger::default());
        Watch {
            name,
            view,
            counts,
            versions,
            ending,
            fail,
            changes,
            ledger,
            closed: 0,
            settled: None,
            uncommitted: false,
            committed: false,
            made: HashMap::new(),
            at_work: false,
            work: HashMap::new(),
            emitted: Emitted::default(),
        }
    }

    fn start(&mut self, waker: Waker) {
        self.guarded(|view| {
            view.start(waker);
            Ok(())
        });
    }

    /// Hands over what happened before `next`, at `front` or earlier, and takes what the view made since.
    fn turn(&mut self, next: Option<Tick>, front: Tick) {
        let closed = next.unwrap_or(Tick::MAX);
        if closed > self.closed {
            self.closed = closed;
            self.ledger.advance(closed);
            let changes = self.closed_changes(closed, front);
            let settled = self.ledger.lowest().map_or(Settled::All, Settled::Below);
            if !changes.is_empty() || self.settled != Some(settled) {
                self.settled = Some(settled);
                self.uncommitted |= !changes.is_empty();
                self.guarded(|view| view.update(changes, settled));
                if settled == Settled::All && self.uncommitted {
                    self.commit();
                }
            }
        }
        self.poll(front);
    }

    /// The net changes before `closed`; records that the view cannot use are set aside.
    fn closed_changes(&mut self, closed: Tick, front: Tick) -> Vec<Change> {
        let later = self.changes.extract_if(.., |(_, at, _)| *at >= closed).collect();
        let mut now = std::mem::replace(&mut self.changes, later);
        now.iter_mut().for_each(|(_, at, _)| *at = 0);
        differential_dataflow::consolidation::consolidate_updates(&mut now);
        let mut changes = Vec::new();
        for (item, _, diff) in now {
            self.counts.take(diff);
            match self.accepts(&item) {
                Ok(()) => {
                    self.counts.finish(diff, 0);
                    changes.push(Change { root: item.place.root, record: item.bytes.0, diff });
                }
                Err(reason) => {
                    self.counts.reject(diff);
                    self.emitted.rejected.push(((item, reason), front, diff));
                }
            }
        }
        changes
    }

    fn accepts(&self, item: &Item) -> Result<(), String> {
        let Some(view) = &self.view else {
            return Ok(());
        };
        let accepted = catch_unwind(AssertUnwindSafe(|| view.accepts(&item.bytes.0)));
        accepted.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()).0))
    }

    fn poll(&mut self, front: Tick) {
        let Some(poll) = self.guarded(|view| view.poll()) else {
            return;
        };
        self.counts.finish(0, poll.records.len() as isize - poll.withdrawn.len() as isize);
        for record in poll.withdrawn {
            if let Some(place) = self.made.remove(&record) {
                self.emitted.items.push((Item { place, bytes: Bytes::from(record) }, front, -1));
            }
        }
        for record in poll.records {
            let place = Place { root: self.made.len() as u64, lap: 0 };
            self.made.insert(record.clone(), place);
            self.emitted.items.push((Item { place, bytes: Bytes::from(record) }, front, 1));
        }
        if poll.busy != self.at_work {
            self.at_work = poll.busy;
            self.emitted.busy.push((AT_WORK, front, if poll.busy { 1 } else { -1 }));
        }
        for (root, net) in poll.work {
            self.work_on(root, net, front);
        }
        self.versions.tell(poll.versions, poll.below);
    }

    /// A row stands for each root that the view is at work on, however many records of it.
    fn work_on(&mut self, root: u64, net: isize, front: Tick) {
        let records = self.work.entry(root).or_insert(0);
        let before = *records;
        *records += net;
        let row = || Busy { place: Place { root, lap: 0 }, what: 0, credited: true };
        match (before, *records) {
            (0, 0) => {}
            (0, _) => self.emitted.busy.push((row(), front, 1)),
            (_, 0) => self.emitted.busy.push((row(), front, -1)),
            _ => {}
        }
        if *records == 0 {
            self.work.remove(&root);
        }
    }

    /// Lets the view finish once its inputs have ended, or give up if the run was cut off.
    fn end(&mut self, next: Option<Tick>) {
        if next.is_some() {
            return;
        }
        if self.ending.is_closing() && !self.ending.is_quiet() {
            // What has come by now may be why.
            let changes = self.closed_changes(Tick::MAX, Tick::MAX);
            self.guarded(|view| view.update(changes, Settled::Below(0)));
            self.guarded(|view| view.abandon());
        } else {
            if self.uncommitted || !self.committed {
                self.commit();
            }
            self.guarded(|view| view.finish());
        }
        self.view = None;
    }

    fn commit(&mut self) {
        (self.uncommitted, self.committed) = (false, true);
        self.guarded(|view| view.commit());
    }

    /// Does something with the view; a view that fails or panics ends the run and is not asked again.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut dyn View) -> Result<T, String>) -> Option<T> {
        let view = self.view.as_deref_mut()?;
        let done = catch_unwind(AssertUnwindSafe(|| work(view)));
        match done.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()).0)) {
            Ok(value) => Some(value),
            Err(cause) => {
                (self.fail)(&self.name, cause);
                self.view = None;
                None
            }
        }
    }
}
