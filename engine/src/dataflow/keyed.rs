//! Asks a group stage for the keys of records.

use std::sync::Arc;

use obvert_api::Operation;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::apply::Applied;
use super::item::{Item, Key, Rejected};
use super::port::{Port, open_tick};
use super::{Items, Rejects, Tick, Update};
use crate::count::Counts;
use crate::stage::Runner;

/// A record with the key of its group, and of the side records that it looks up; a side record with the key by which it is
/// looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Keyed {
    pub(crate) item: Item,
    pub(crate) key: Key,
    pub(crate) wants: Option<Key>,
}

/// Which keys records are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    /// Those of the input.
    Members,
    /// Those of the side input.
    Sides,
}

pub(crate) type KeyedRecords<'s> = differential_dataflow::VecCollection<'s, Tick, Keyed, isize>;

/// Records with their keys; those whose keys cannot be told are counted and set aside. A record that the stage has no key for
/// belongs nowhere.
pub(crate) fn keyed<'s>(input: Items<'s>, ask: Ask, stage: &Applied) -> (KeyedRecords<'s>, Rejects<'s>) {
    let (runner, counts, ending) = (Arc::clone(&stage.runner), Arc::clone(&stage.counts), stage.ending.clone());
    let mut builder = OperatorBuilder::new(format!("{} keys", stage.name), input.scope());
    let mut input = builder.new_input(input.inner, Pipeline);
    let (keyed, records) = Port::new(&mut builder);
    let (rejected, set_aside) = Port::new(&mut builder);
    builder.build(move |mut capabilities| {
        let (mut keyed, mut rejected) = (keyed.hold(&mut capabilities), rejected.hold(&mut capabilities));
        move |frontiers| {
            let mut changes = Vec::new();
            input.for_each(|_, data| changes.append(data));
            let (mut known, mut unknown) = keys(&*runner, &counts, ask, changes);
            let next = open_tick(frontiers, &ending);
            keyed.give(&mut known, next);
            rejected.give(&mut unknown, next);
        }
    });
    (records, set_aside)
}

/// Records with their keys, and those whose keys cannot be told, which are counted.
pub(super) fn keys(
    runner: &dyn Runner,
    counts: &Counts,
    ask: Ask,
    changes: Vec<Update<Item>>,
) -> (Vec<Update<Keyed>>, Vec<Update<Rejected>>) {
    let records: Vec<&[u8]> = changes.iter().map(|(item, _, _)| &*item.bytes.0).collect();
    let operation = match ask {
        Ask::Members => Operation::Key,
        Ask::Sides => Operation::WithKey,
    };
    let answers = runner.ask(operation, &records);
    let (mut known, mut unknown) = (Vec::with_capacity(changes.len()), Vec::new());
    for ((item, at, net), answer) in changes.into_iter().zip(answers) {
        let mut keys = match answer {
            Ok(outcome) => outcome.records.into_iter().map(|key| Key::of(&key)),
            Err(error) => {
                counts.take(net);
                counts.reject(net);
                unknown.push(((item, error.0), at, net));
                continue;
            }
        };
        if let Some(key) = keys.next() {
            known.push((Keyed { item, key, wants: keys.next() }, at, net));
        }
    }
    (known, unknown)
}
