//! Lets dialogues into the loop: as many at a time as there are credits, in the order of their roots.
//!
//! Admission is an effect like any other: the item waits, and lands late. One credit is one dialogue; it comes back when
//! nothing of the dialogue is at work any more. Going around the loop never asks for a credit, so the loop cannot starve.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::ending::Ending;
use super::item::{Busy, Item, Place};
use super::port::{Emitted, Ports, open_tick};
use super::{Items, Made, Settlement, Tick, Update};

/// The operator; all of it happens on the first worker.
pub(crate) fn admit<'s>(input: Items<'s>, settlement: Arc<Settlement>, ending: Ending) -> Made<'s> {
    let scope = input.scope();
    let mut builder = OperatorBuilder::new("admit".into(), scope);
    let mut input = builder.new_input(input.inner, Exchange::new(|_: &Update<Item>| 0));
    let (ports, made) = Ports::new(&mut builder);
    settlement.wake_on_release(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    builder.build(move |mut capabilities| {
        let mut ports = ports.hold(&mut capabilities);
        let mut gate = Gate::default();
        move |frontiers| {
            let mut changes = Vec::new();
            input.for_each(|_, data| changes.append(data));
            let Some(front) = ports.front() else { return };
            gate.change(changes);
            gate.open(&settlement, front);
            ports.give(&mut gate.emitted, open_tick(frontiers, &ending));
        }
    });
    made
}

#[derive(Default)]
struct Gate {
    waiting: BTreeMap<Item, (Tick, isize)>,
    /// Copies of those inside, by place and hash.
    inside: HashMap<(Place, u64), isize>,
    emitted: Emitted,
}

impl Gate {
    fn change(&mut self, mut changes: Vec<Update<Item>>) {
        differential_dataflow::consolidation::consolidate_updates(&mut changes);
        for (item, at, net) in changes {
            let known = (item.place, item.hash());
            if let Some(inside) = self.inside.get_mut(&known) {
                *inside += net;
                if *inside == 0 {
                    self.inside.remove(&known);
                }
                self.emitted.items.push((item, at, net));
                continue;
            }
            let (since, copies) = self.waiting.entry(item.clone()).or_insert((at, 0));
            (*since, *copies) = ((*since).max(at), *copies + net);
            if *copies == net {
                self.emitted.busy.push((Busy::with(&item), at, 1));
            }
            if *copies == 0 {
                self.waiting.remove(&item);
                self.emitted.busy.push((Busy::with(&item), at, -1));
            }
        }
    }

    /// Admits waiting items in order while there are credits.
    fn open(&mut self, settlement: &Settlement, front: Tick) {
        while let Some(next) = self.waiting.first_entry() {
            let at = next.get().0.max(front);
            if !settlement.admit_dialogue(next.key().place.root, at) {
                return;
            }
            let (item, (_, net)) = next.remove_entry();
            self.emitted.busy.push((Busy::with(&item), at, -1));
            self.inside.insert((item.place, item.hash()), net);
            self.emitted.items.push((item, at, net));
        }
    }
}
