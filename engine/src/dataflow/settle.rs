//! What is still at work, read off the `Busy` rows at closed ticks only: there the account is exact.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::operators::probe::Handle;
use timely::scheduling::SyncActivator;

use super::item::Event;
use super::{Events, Tick};

/// Rows at work by root. A row counts as long as its multiplicity is not 0: sums over different rows would cancel.
#[derive(Default)]
pub(crate) struct Ledger {
    pending: Vec<(Event, Tick, isize)>,
    roots: BTreeMap<u64, HashMap<Event, isize>>,
}

impl Ledger {
    pub(crate) fn take(&mut self, changes: &mut Vec<(Event, Tick, isize)>) {
        self.pending.append(changes);
    }

    /// Applies what happened before `closed`.
    pub(crate) fn advance(&mut self, closed: Tick) {
        for (event, at, net) in std::mem::take(&mut self.pending) {
            if at >= closed {
                self.pending.push((event, at, net));
            } else if let Event::Busy(place, _) = event {
                let rows = self.roots.entry(place.root).or_default();
                let row = rows.entry(event.clone()).or_insert(0);
                *row += net;
                if *row == 0 {
                    rows.remove(&event);
                }
                if rows.is_empty() {
                    self.roots.remove(&place.root);
                }
            }
        }
    }

    /// The smallest root at work.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.roots.first_key_value().map(|(root, _)| *root)
    }

    fn holds(&self, root: u64) -> bool {
        self.roots.contains_key(&root)
    }
}

/// The whole run's account and the dialogues' credits; lives on the first worker, read by all.
pub(crate) struct Settlement {
    credits: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    /// First tick that is not closed yet.
    closed: Tick,
    /// Roots inside the loop and the tick at which they were let in.
    inside: HashMap<u64, Tick>,
    gates: Vec<SyncActivator>,
}

impl Settlement {
    pub(crate) fn new(credits: usize) -> Arc<Self> {
        Arc::new(Settlement { credits: credits.max(1), state: Mutex::default() })
    }

    pub(crate) fn wake_on_release(&self, gate: SyncActivator) {
        self.lock().gates.push(gate);
    }

    /// Takes a credit for a root, if there is one; a root that is inside already needs none.
    pub(crate) fn admit(&self, root: u64, at: Tick) -> bool {
        let mut state = self.lock();
        let free = state.inside.len() < self.credits;
        if free || state.inside.contains_key(&root) {
            state.inside.insert(root, at);
            return true;
        }
        false
    }

    /// Whether nothing was at work any more at the last closed tick.
    pub(crate) fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.closed > 0 && state.ledger.roots.is_empty()
    }

    fn advance(&self, changes: &mut Vec<(Event, Tick, isize)>, closed: Tick) {
        let mut state = self.lock();
        state.ledger.take(changes);
        state.ledger.advance(closed);
        state.closed = closed;
        let State { ledger, inside, gates, .. } = &mut *state;
        let before = inside.len();
        inside.retain(|root, at| *at >= closed || ledger.holds(*root));
        if inside.len() < before {
            for gate in gates {
                // Fails only when the dataflow has ended.
                let _ = gate.activate();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the account of all `Busy` rows.
pub(crate) fn settle<'s>(busy: Events<'s>, settlement: Arc<Settlement>, probe: &Handle<Tick>) {
    use timely::dataflow::operators::Probe;
    let route = Exchange::new(|_: &(Event, Tick, isize)| 0);
    let first = busy.scope().worker().index() == 0;
    busy.inner
        .unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(route, "settle", move |_, _| {
            move |(input, frontier), _| {
                let mut changes = Vec::new();
                input.for_each(|_, data| changes.append(data));
                let closed = frontier.frontier().first().copied();
                if first {
                    settlement.advance(&mut changes, closed.unwrap_or(Tick::MAX));
                }
            }
        })
        .probe_with(probe);
}
