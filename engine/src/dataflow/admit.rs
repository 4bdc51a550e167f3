//! Lets dialogues into the loop: as many at a time as there are credits, in the order of their roots.
//!
//! Admission is an effect like any other: the item waits, and lands late. One credit is one dialogue; it comes back when
//! nothing of the dialogue is at work any more. Going around the loop never asks for a credit, so the loop cannot starve.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use differential_dataflow::{AsCollection, Hashable};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator as _;

use super::ending::Ending;
use super::item::{Event, Item};
use super::{Events, Items, Settlement, Tick};

/// The operator; all of it happens on the first worker.
pub(crate) fn admit<'s>(input: Items<'s>, settlement: Arc<Settlement>, ending: Ending) -> Events<'s> {
    let scope = input.scope();
    let route = Exchange::new(|_: &(Item, Tick, isize)| 0);
    input
        .inner
        .unary_frontier::<CapacityContainerBuilder<Vec<_>>, _, _, _>(route, "admit", move |capability, info| {
            settlement.wake_on_release(scope.worker().sync_activator_for(info.address.to_vec()));
            let mut front: Option<Capability<Tick>> = Some(capability);
            let mut gate = Gate::default();
            move |(input, frontier), output| {
                let mut changes = Vec::new();
                input.for_each(|_, data| changes.append(data));
                let Some(capability) = front.as_mut() else {
                    return;
                };
                gate.change(changes);
                gate.open(&settlement, *capability.time());
                output.session(&*capability).give_iterator(gate.events.drain(..));
                match frontier.frontier().first() {
                    Some(time) if !ending.is_closing() => capability.downgrade(time),
                    _ => front = None,
                }
            }
        })
        .as_collection()
}

#[derive(Default)]
struct Gate {
    waiting: BTreeMap<Item, (Tick, isize)>,
    inside: HashMap<Item, isize>,
    events: Vec<(Event, Tick, isize)>,
}

impl Gate {
    fn change(&mut self, mut changes: Vec<(Item, Tick, isize)>) {
        differential_dataflow::consolidation::consolidate_updates(&mut changes);
        for (item, at, net) in changes {
            if let Some(inside) = self.inside.get_mut(&item) {
                *inside += net;
                if *inside == 0 {
                    self.inside.remove(&item);
                }
                self.events.push((Event::Out(item), at, net));
                continue;
            }
            let (since, copies) = self.waiting.entry(item.clone()).or_insert((at, 0));
            (*since, *copies) = ((*since).max(at), *copies + net);
            if *copies == net {
                self.events.push((Event::Busy(item.place, item.hashed()), at, 1));
            }
            if *copies == 0 {
                self.waiting.remove(&item);
                self.events.push((Event::Busy(item.place, item.hashed()), at, -1));
            }
        }
    }

    /// Admits waiting items in order while there are credits.
    fn open(&mut self, settlement: &Settlement, front: Tick) {
        while let Some(next) = self.waiting.first_entry() {
            let at = next.get().0.max(front);
            if !settlement.admit(next.key().place.root, at) {
                return;
            }
            let (item, (_, net)) = next.remove_entry();
            self.events.push((Event::Busy(item.place, item.hashed()), at, -1));
            self.events.push((Event::Out(item.clone()), at, net));
            self.inside.insert(item, net);
        }
    }
}
