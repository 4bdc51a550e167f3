//! Lets dialogues into the loop: as many at a time as there are credits, in the order of their roots.
//!
//! One credit is one dialogue; it comes back when nothing of the dialogue is at work any more. Going around the loop never asks
//! for a credit, so the loop cannot starve.

use std::sync::Arc;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::ending::Ending;
use super::gate::Gate;
use super::item::Item;
use super::port::{Ports, open_tick};
use super::{Items, Made, Settlement, Update};

/// The operator; all of it happens on the first worker.
pub(crate) fn admit<'s>(input: Items<'s>, settlement: Arc<Settlement>, ending: Ending) -> Made<'s> {
    let scope = input.scope();
    let mut builder = OperatorBuilder::new("admit".into(), scope);
    let mut input = builder.new_input(input.inner, Exchange::new(|_: &Update<Item>| 0));
    let (ports, made) = Ports::new(&mut builder);
    settlement.wake_on_release(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    builder.build(move |mut capabilities| {
        let mut ports = ports.hold(&mut capabilities);
        let mut gate = Gate::new(|item, ()| Ok(item));
        move |frontiers| {
            let mut changes = Vec::new();
            input.for_each(|_, data| changes.append(data));
            let Some(front) = ports.front() else { return };
            gate.change(changes);
            gate.open(front, |item, at| settlement.admit_dialogue(item.place.root, at).then_some(()));
            ports.give(&mut gate.emitted, open_tick(frontiers, &ending));
        }
    });
    made
}
