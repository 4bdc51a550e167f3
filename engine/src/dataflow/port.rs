//! An operator's output: what it emits lands late but never early.

use differential_dataflow::{AsCollection, Data, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::progress::frontier::MutableAntichain;

use super::ending::Ending;
use super::{Tick, Update};

/// The first tick that is not closed yet on all inputs; none where the run ends: around the turn loop operators would else
/// keep each other alive for ever.
pub(crate) fn open_tick(frontiers: &[MutableAntichain<Tick>], ending: &Ending) -> Option<Tick> {
    let open = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
    open.filter(|_| !ending.is_closing())
}

/// An output with the capability by which it emits.
///
/// **Invariant**: the capability never passes a time that may still arrive, so that what lands late lands at a tick where its
/// input is present, and a retraction takes effect at its own tick.
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

    /// Emits all of `updates`, or drops them once it has ended.
    pub(crate) fn give(&mut self, updates: &mut Vec<Update<D>>) {
        match &self.front {
            Some(front) if !updates.is_empty() => {
                self.output.activate().session(front).give_iterator(updates.drain(..));
            }
            _ => updates.clear(),
        }
    }

    /// Emits nothing before `next` any more, or nothing at all.
    pub(crate) fn advance(&mut self, next: Option<Tick>) {
        match (&mut self.front, next) {
            (Some(front), Some(next)) => front.downgrade(&next),
            (front, _) => *front = None,
        }
    }
}
