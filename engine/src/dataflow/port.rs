//! An operator's output: what it emits lands late but never early.

use differential_dataflow::{AsCollection, Data, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::progress::frontier::MutableAntichain;

use super::ending::Ending;
use super::item::{Busy, Item, Rejected};
use super::{Made, Tick, Update};

/// The first tick that is not closed yet on all inputs; none once they have ended.
pub(crate) fn lowest(frontiers: &[MutableAntichain<Tick>]) -> Option<Tick> {
    frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min()
}

/// The first tick at which an operator may still emit; none where the run ends: around the turn loop operators would else keep
/// each other alive for ever.
pub(crate) fn open_tick(frontiers: &[MutableAntichain<Tick>], ending: &Ending) -> Option<Tick> {
    lowest(frontiers).filter(|_| !ending.is_closing())
}

/// Adds what has come; the first batch as it is.
pub(crate) fn gather<D>(all: &mut Vec<D>, data: &mut Vec<D>) {
    if all.is_empty() { std::mem::swap(all, data) } else { all.append(data) }
}

/// What an operator is about to emit.
#[derive(Default)]
pub(crate) struct Emitted {
    pub(crate) items: Vec<Update<Item>>,
    pub(crate) busy: Vec<Update<Busy>>,
    pub(crate) rejected: Vec<Update<Rejected>>,
}

/// The outputs that most operators have: records, what is at work, what was set aside.
pub(crate) struct Ports {
    items: Port<Item>,
    busy: Port<Busy>,
    rejected: Port<Rejected>,
}

impl Ports {
    /// Adds them to an operator that is being built.
    pub(crate) fn new<'s>(builder: &mut OperatorBuilder<'s, Tick>) -> (Self, Made<'s>) {
        let (items, made) = Port::new(builder);
        let (busy, at_work) = Port::new(builder);
        let (rejected, set_aside) = Port::new(builder);
        (Ports { items, busy, rejected }, Made { items: made, busy: at_work, rejected: set_aside })
    }

    /// As [`Port::hold`].
    pub(crate) fn hold(self, capabilities: &mut Vec<Capability<Tick>>) -> Self {
        let Ports { items, busy, rejected } = self;
        let (items, busy) = (items.hold(capabilities), busy.hold(capabilities));
        Ports { items, busy, rejected: rejected.hold(capabilities) }
    }

    /// As [`Port::front`].
    pub(crate) fn front(&self) -> Option<Tick> {
        self.items.front()
    }

    /// Emits all of it, and nothing before `next` any more.
    pub(crate) fn give(&mut self, emitted: &mut Emitted, next: Option<Tick>) {
        self.items.give(&mut emitted.items, next);
        self.busy.give(&mut emitted.busy, next);
        self.rejected.give(&mut emitted.rejected, next);
    }
}

/// An output with the capability by which it emits.
///
/// **Invariant**: the capability never passes a time that may still arrive, so that what lands late lands at a tick where its
/// input is present, and a retraction takes effect at its own tick; or late too, where it waits for another process's memo.
pub(crate) struct Port<D: Data> {
    output: OutputBuilder<Tick, CapacityContainerBuilder<Vec<Update<D>>>>,
    front: Option<Capability<Tick>>,
}

impl<D: Data> Port<D> {
    /// Adds an output to an operator that is being built.
    pub(crate) fn new<'s>(builder: &mut OperatorBuilder<'s, Tick>) -> (Self, VecCollection<'s, Tick, D, isize>) {
        let (output, stream) = builder.new_output();
        (Port { output: OutputBuilder::from(output), front: None }, stream.as_collection())
    }

    /// Takes the capability that the operator was built with: the first of them, which come in the order of the outputs.
    pub(crate) fn hold(mut self, capabilities: &mut Vec<Capability<Tick>>) -> Self {
        self.front = Some(capabilities.remove(0));
        self
    }

    /// The earliest tick at which it can emit; none once it has ended.
    pub(crate) fn front(&self) -> Option<Tick> {
        self.front.as_ref().map(|front| *front.time())
    }

    /// Emits all of `updates`, or drops them once it has ended; nothing before `next` any more, or nothing at all.
    pub(crate) fn give(&mut self, updates: &mut Vec<Update<D>>, next: Option<Tick>) {
        match &self.front {
            Some(front) if !updates.is_empty() => self.output.activate().session(front).give_container(updates),
            _ => {}
        }
        updates.clear();
        match (&mut self.front, next) {
            (Some(front), Some(next)) => front.downgrade(&next),
            (front, _) => *front = None,
        }
    }
}
