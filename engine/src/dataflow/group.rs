//! Brings the records of a key together, and the side records that they look up.
//!
//! A record joins its group only when nothing upstream is at work on its place (root and lap) any more: so a group is
//! never run on a part of its turn. Places, not roots, because the next lap is at work while this one is grouped.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use obvert_api::{Operation, frame};

use super::item::{Bytes, Event, Item, Place};
use super::{Events, Items, Tick};
use crate::count::Counts;
use crate::stage::Runner;

/// One entry of a group: from the input (0) or the side input (1).
type Member = (u8, Item);
/// A record with its group's key and the key of the side records that it looks up.
type Keyed = (Item, Bytes, Option<Bytes>);

/// Groups `input` (held back while `busy`) with what it looks up in `with`; each item of the first result is one
/// invocation. Records whose keys cannot be told are the second result, set aside.
pub(crate) fn group<'s>(
    input: Items<'s>,
    with: Option<Items<'s>>,
    busy: Events<'s>,
    runner: Arc<dyn Runner>,
    counts: Arc<Counts>,
) -> (Items<'s>, Events<'s>) {
    let (keyed, mut rejected) = keyed(input, Arc::clone(&runner), &counts);
    let ready = ready(keyed, busy);
    let mut members = ready.clone().map(|(item, key, _)| (key, (0, item)));
    if let Some(with) = with {
        let (offers, unknown) = asked(with, &counts, move |record| ask(&*runner, Operation::WithKey, record));
        rejected = rejected.concat(unknown);
        members = members.concat(sides(ready, offers));
    }
    let invocations = members.reduce(|key, entries, output: &mut Vec<(Item, isize)>| {
        output.extend(invocation(key, entries.iter().map(|(member, _)| *member)).map(|item| (item, 1)));
    });
    (invocations.map(|(_, item)| item), rejected)
}

/// What the stage answers to an operation on a record; a record that it has no answer for belongs nowhere.
fn ask(runner: &dyn Runner, operation: Operation, record: &[u8]) -> Result<Option<Bytes>, String> {
    let answer = runner.ask(operation, &[record]).into_iter().next();
    let answer = answer.unwrap_or_else(|| Err(obvert_api::Error::new("the stage gave no answer")));
    answer.map(|key| key.map(Bytes::from)).map_err(|error| error.0)
}

fn keyed<'s>(
    input: Items<'s>,
    runner: Arc<dyn Runner>,
    counts: &Arc<Counts>,
) -> (VecCollection<'s, Tick, Keyed, isize>, Events<'s>) {
    let (keyed, rejected) = asked(input, counts, move |record| {
        let key = ask(&*runner, Operation::Key, record)?;
        let wanted = ask(&*runner, Operation::LooksUp, record)?;
        Ok(key.map(|key| (key, wanted)))
    });
    (keyed.map(|(item, (key, wanted))| (item, key, wanted)), rejected)
}

/// Items with the answer to a question; those for which there is an error instead are counted and set aside.
fn asked<'s, A: differential_dataflow::ExchangeData>(
    items: Items<'s>,
    counts: &Arc<Counts>,
    question: impl Fn(&[u8]) -> Result<Option<A>, String> + 'static,
) -> (VecCollection<'s, Tick, (Item, A), isize>, Events<'s>) {
    let counts = Arc::clone(counts);
    let answers = items.map(move |item| (question(&item.bytes.0), item));
    let known = answers.clone().flat_map(|(answer, item)| answer.ok().flatten().map(|answer| (item, answer)));
    let rejected = answers.flat_map(|(answer, item)| answer.err().map(|reason| Event::Rejected(item, reason)));
    let counted = rejected.inspect(move |(_, _, net)| {
        counts.take(*net);
        counts.reject(*net);
    });
    (known, counted)
}

fn ready<'s>(input: VecCollection<'s, Tick, Keyed, isize>, busy: Events<'s>) -> VecCollection<'s, Tick, Keyed, isize> {
    let places = busy.flat_map(|event| match event {
        Event::Busy(place, _) => Some(place),
        _ => None,
    });
    let placed = input.map(|(item, key, wanted)| (item.place, (item.bytes, key, wanted)));
    placed.antijoin(places.distinct()).map(|(place, (bytes, key, wanted))| (Item { place, bytes }, key, wanted))
}

/// The side records that a group's records look up, as members of the group.
fn sides<'s>(
    ready: VecCollection<'s, Tick, Keyed, isize>,
    offers: VecCollection<'s, Tick, (Item, Bytes), isize>,
) -> VecCollection<'s, Tick, (Bytes, Member), isize> {
    let wants = ready.flat_map(|(_, key, wanted)| wanted.map(|wanted| (wanted, key))).distinct();
    let offers = offers.map(|(item, key)| (key, item));
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
