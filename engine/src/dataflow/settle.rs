//! The whole run's account: whether anything is at work, and whose credits come back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::operators::probe::Handle;
use timely::scheduling::SyncActivator;

use super::credit::{Limit, Window};
use super::item::{Busy, Place};
use super::ledger::Ledger;
use super::{Busys, Tick, Update};

/// Lives on the first worker, and is read there.
pub(crate) struct Settlement(Mutex<State>);

struct State {
    ledger: Ledger,
    /// First tick that is not closed yet.
    closed: Tick,
    /// Dialogues in the turn loop.
    dialogues: Window,
    /// Rows of each source, by its node.
    rows: HashMap<usize, Window>,
    per_source: Limit,
    /// No credit is given for now.
    held: bool,
    gates: Vec<SyncActivator>,
}

impl Settlement {
    /// So many dialogues at a time, and so much of each source.
    pub(crate) fn new(dialogues: usize, per_source: Limit) -> Arc<Self> {
        let dialogues = Window::new(Limit { records: dialogues, bytes: u64::MAX }, 1);
        let (ledger, rows, gates) = (Ledger::default(), HashMap::new(), Vec::new());
        Arc::new(Settlement(Mutex::new(State { ledger, closed: 0, dialogues, rows, per_source, held: false, gates })))
    }

    pub(crate) fn wake_on_release(&self, gate: SyncActivator) {
        self.lock().gates.push(gate);
    }

    /// Takes a credit for a dialogue, if there is one.
    pub(crate) fn admit_dialogue(&self, root: u64, at: Tick) -> bool {
        let mut state = self.lock();
        !state.held && state.dialogues.take(root, 0, at)
    }

    /// Takes a credit for a row of a source, if there is one.
    pub(crate) fn admit_row(&self, source: usize, root: u64, bytes: u64, at: Tick) -> bool {
        let mut state = self.lock();
        let limit = state.per_source;
        !state.held && state.rows.entry(source).or_insert_with(|| Window::new(limit, Place::ROW)).take(root, bytes, at)
    }

    /// Gives no credits until it is told to go on.
    pub(crate) fn hold(&self, held: bool) {
        let mut state = self.lock();
        state.held = held;
        state.wake();
    }

    /// Has gates look again whether they let anything through.
    pub(crate) fn wake(&self) {
        self.lock().wake();
    }

    /// Rows and bytes of a source that are outstanding.
    pub(crate) fn outstanding(&self, source: usize) -> (usize, u64) {
        self.lock().rows.get(&source).map(Window::outstanding).unwrap_or_default()
    }

    /// Whether nothing was at work any more at the last closed tick.
    pub(crate) fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.closed > 0 && state.ledger.is_empty()
    }

    fn advance(&self, changes: &mut Vec<Update<Busy>>, closed: Tick) {
        let mut state = self.lock();
        let State { ledger, dialogues, rows, .. } = &mut *state;
        ledger.take(changes);
        let ended = ledger.advance(closed);
        for window in rows.values_mut() {
            window.settle(closed, &ended, ledger);
        }
        if dialogues.settle(closed, &ended, ledger) {
            state.wake();
        }
        state.closed = closed;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&self) {
        for gate in &self.gates {
            // Fails only when the dataflow has ended.
            let _ = gate.activate();
        }
    }
}

/// Keeps the account of all `Busy` rows.
pub(crate) fn settle<'s>(busy: Busys<'s>, settlement: Arc<Settlement>, probe: &Handle<Tick>) {
    use timely::dataflow::operators::Probe;
    let route = Exchange::new(|_: &Update<Busy>| 0);
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
