//! Lets dialogues into the loop: as many at a time as there are credits, in the order of their roots.
//!
//! One credit is one dialogue; it comes back when nothing of the dialogue is at work any more. Going around the loop never asks
//! for a credit, so the loop cannot starve.

use std::sync::Arc;

use super::ending::Ending;
use super::gate::gate;
use super::{Item, Items, Made, Settlement};

/// The operator.
pub(crate) fn admit<'s>(input: Items<'s>, settlement: Arc<Settlement>, ending: Ending) -> Made<'s> {
    let credits = Arc::clone(&settlement);
    let wake = |gate| settlement.wake_on_release(gate);
    let pass = move |item: &Item, at| credits.admit_dialogue(item.place.root, at).then_some(());
    gate(input, "admit", wake, pass, |item, ()| Ok(item), ending)
}
