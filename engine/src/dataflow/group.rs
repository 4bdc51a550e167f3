//! Brings the records of a key together, and the side records that they look up.
//!
//! A record joins its group only when nothing upstream is at work on its place (root and lap) any more: so a group is
//! never run on a part of its turn. Places, not roots, because the next lap is at work while this one is grouped.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use obvert_api::{Operation, frame};

use super::item::{Bytes, Event, Item, Place};
use super::{Events, Items, Tick};
use crate::stage::Runner;

/// One entry of a group: from the input (0) or the side input (1).
type Member = (u8, Item);
/// Entries by group key.
type Members<'s> = VecCollection<'s, Tick, (Bytes, Member), isize>;

/// Groups `input` (held back while `busy`) with what it looks up in `with`; each item of the result is one invocation.
pub(crate) fn group<'s>(
    input: Items<'s>,
    with: Option<Items<'s>>,
    busy: Events<'s>,
    runner: Arc<dyn Runner>,
) -> Items<'s> {
    let ready = ready(input, busy);
    let members = keyed(ready.clone(), Arc::clone(&runner), Operation::Key).map(|(key, item)| (key, (0, item)));
    let members = match with {
        Some(with) => members.concat(sides(ready, with, runner)),
        None => members,
    };
    members
        .reduce(|key, entries, output: &mut Vec<(Item, isize)>| {
            output.extend(invocation(key, entries.iter().map(|(member, _)| *member)).map(|item| (item, 1)));
        })
        .map(|(_, item)| item)
}

fn ready<'s>(input: Items<'s>, busy: Events<'s>) -> Items<'s> {
    let places = busy.flat_map(|event| match event {
        Event::Busy(place, _) => Some(place),
        _ => None,
    });
    input.map(|item| (item.place, item.bytes)).antijoin(places.distinct()).map(|(place, bytes)| Item { place, bytes })
}

/// Records by what the stage answers to `operation`; records that it answers nothing for drop out.
fn keyed<'s>(
    items: Items<'s>,
    runner: Arc<dyn Runner>,
    operation: Operation,
) -> VecCollection<'s, Tick, (Bytes, Item), isize> {
    items.flat_map(move |item| {
        let answer = runner.ask(operation, &[&item.bytes.0]).into_iter().next();
        match answer {
            Some(Ok(key)) => key.map(|key| (Bytes::from(key), item)),
            Some(Err(error)) => {
                tracing::error!(%error, "a record has no key and is left out of its group");
                None
            }
            None => None,
        }
    })
}

fn sides<'s>(ready: Items<'s>, with: Items<'s>, runner: Arc<dyn Runner>) -> Members<'s> {
    let keys = keyed(ready.clone(), Arc::clone(&runner), Operation::Key).map(|(key, item)| (item, key));
    let wanted = keyed(ready, Arc::clone(&runner), Operation::LooksUp).map(|(wanted, item)| (item, wanted));
    let wants = keys.join_map(wanted, |_, key, wanted| (wanted.clone(), key.clone())).distinct();
    let offers = keyed(with, runner, Operation::WithKey);
    wants.join_map(offers, |_, key, item| (key.clone(), (1, item.clone())))
}

/// The invocation on a group; none for a group of side records only. Members come in their own order, which does not
/// depend on arrival.
fn invocation<'a>(key: &Bytes, members: impl Iterator<Item = &'a Member>) -> Option<Item> {
    let (mut records, mut with) = (Vec::new(), Vec::new());
    let mut place: Option<Place> = None;
    for (port, item) in members {
        if *port == 0 {
            place = place.or(Some(item.place));
            records.push(&*item.bytes.0);
        } else {
            with.push(&*item.bytes.0);
        }
    }
    let key = String::from_utf8_lossy(&key.0);
    let bytes = frame::encode_invocation(&key, &records, &with, &[]).ok()?;
    Some(Item { place: place?, bytes: Bytes::from(bytes) })
}
