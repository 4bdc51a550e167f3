//! Brings the records of a key together, and the side records that they look up.
//!
//! A group changes in two steps: what it was is withdrawn at the tick of the change, what it is comes when it is complete.
//! A group within a row is complete when nothing upstream is at work on the places (root and lap) that changed it; places, not
//! roots, because the next lap is at work while this one is grouped. Any other is when nothing upstream is at work at all.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;

use hashbrown::HashMap;
use smallvec::SmallVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;

use super::ending::Ending;
use super::item::{Busy, Key, Place};
use super::keyed::{Keyed, KeyedRecords};
use super::ledger::Ledger;
use super::members::{Groups, Id};
use super::port::{Emitted, Ports, gather, lowest, open_tick};
use super::view::OnFailure;
use super::{Busys, Made, Tick, Update};

/// Bytes of members that a stage keeps in memory on each worker; when there are more, all lie on disk.
const IN_MEMORY: usize = 4 << 20;
/// Bytes of invocations that are sent on at once: what comes behind makes little of them before there are more.
const AT_ONCE: usize = 1 << 20;

/// What the operator needs besides its inputs.
pub(crate) struct Grouping {
    pub(crate) name: String,
    /// All records of a group come from one row.
    pub(crate) within_row: bool,
    /// No group is run while anything is at work that makes side records.
    pub(crate) sides_first: bool,
    /// Where members are put that do not fit into memory.
    pub(crate) spill: PathBuf,
    pub(crate) ending: Ending,
    pub(crate) fail: OnFailure,
}

impl Grouping {
    /// Whether a group that waits does so for more than what is at work in its place: then a row of its own stands for it.
    fn stands_for_itself(&self) -> bool {
        !self.within_row || self.sides_first
    }
}

/// Each item of the result is one invocation.
pub(crate) fn group<'s>(
    members: KeyedRecords<'s>,
    sides: KeyedRecords<'s>,
    [busy, ahead]: [Busys<'s>; 2],
    grouping: Grouping,
) -> Made<'s> {
    let mut builder = OperatorBuilder::new(format!("{} groups", grouping.name), members.scope());
    let mut members = builder.new_input(members.inner, Exchange::new(|(keyed, _, _): &Update<Keyed>| hash(&keyed.key)));
    let mut sides = builder.new_input(sides.inner.broadcast(), Pipeline);
    let mut busy = builder.new_input(busy.inner.broadcast(), Pipeline);
    let mut ahead = builder.new_input(ahead.inner.broadcast(), Pipeline);
    let (ports, made) = Ports::new(&mut builder);
    let again = made.items.scope().activator_for(builder.operator_info().address);
    builder.build(move |mut capabilities| {
        let mut ports = ports.hold(&mut capabilities);
        let mut state = State::new(grouping);
        move |frontiers| {
            members.for_each(|_, data| state.put_off(data, |change| &mut change.members));
            sides.for_each(|_, data| state.put_off(data, |change| &mut change.sides));
            busy.for_each(|_, data| state.ledger.take(data));
            ahead.for_each(|_, data| state.ahead.take(data));
            let Some(front) = ports.front() else { return };
            let next = lowest(frontiers);
            if next.is_none_or(|next| next > front) || !state.ready.is_empty() {
                state.close(next, front);
            }
            if !state.ready.is_empty() {
                again.activate();
            }
            ports.give(&mut state.emitted, open_tick(frontiers, &state.grouping.ending));
        }
    });
    made
}

fn hash(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// What changes at one tick.
#[derive(Default)]
struct Change {
    members: Vec<Update<Keyed>>,
    sides: Vec<Update<Keyed>>,
}

/// A group whose invocation is withdrawn.
#[derive(Default)]
struct Dirty {
    /// Where it changed.
    places: SmallVec<[Place; 1]>,
    /// The row that stands for it while it waits for all that is at work.
    busy: Option<Busy>,
}

/// **Invariant**: a group that is not dirty is downstream as it is.
struct State {
    grouping: Grouping,
    groups: Groups,
    ledger: Ledger,
    /// What is at work on side records, where groups wait for it.
    ahead: Ledger,
    changes: BTreeMap<Tick, Change>,
    dirty: HashMap<Id, Dirty>,
    /// Dirty groups that span rows and are complete, if nothing has begun to work since; the next one comes last.
    ready: Vec<Id>,
    emitted: Emitted,
}

impl State {
    fn new(grouping: Grouping) -> Self {
        let groups = Groups::new(&grouping.spill, IN_MEMORY);
        let (ledger, changes, dirty, ready) = (Ledger::default(), BTreeMap::new(), HashMap::new(), Vec::new());
        State { grouping, groups, ledger, ahead: Ledger::default(), changes, dirty, ready, emitted: Emitted::default() }
    }

    /// Keeps changes until their tick is closed; most come with others of the same.
    fn put_off(&mut self, data: &mut Vec<Update<Keyed>>, part: fn(&mut Change) -> &mut Vec<Update<Keyed>>) {
        while let Some((_, at, _)) = data.first() {
            let (at, changes) = (*at, part(self.changes.entry(*at).or_default()));
            match data.iter().position(|(_, other, _)| *other != at) {
                None => gather(changes, data),
                Some(others) => changes.extend(data.drain(..others)),
            }
        }
    }

    /// Takes in what happened before `next`, and runs the groups that are complete now.
    fn close(&mut self, next: Option<Tick>, front: Tick) {
        let closed = next.unwrap_or(Tick::MAX);
        let later = self.changes.split_off(&closed);
        let due = std::mem::replace(&mut self.changes, later);
        let last = due.keys().next_back().copied().unwrap_or(front);
        let done = due.into_iter().try_for_each(|(at, change)| self.take_in(at, change)).and_then(|()| {
            self.ledger.advance(closed);
            self.ahead.advance(closed);
            let at = next.map_or(last.max(front), |next| (next - 1).max(front));
            if self.grouping.within_row { self.run(at) } else { self.run_ready(at, next.is_none()) }
        });
        if let Err(error) = done {
            (self.grouping.fail)(&self.grouping.name, format!("{}: {error}", self.grouping.spill.display()));
        }
    }

    fn take_in(&mut self, at: Tick, Change { members, sides }: Change) -> io::Result<()> {
        for (side, _, net) in sides {
            for id in self.groups.wanting(&side.key) {
                self.withdraw(id, None, at)?;
            }
            self.groups.change_side(&side.key, side.item, net);
        }
        for (Keyed { item, key, wants }, _, net) in members {
            let id = self.groups.id(key);
            self.withdraw(id, Some(item.place), at)?;
            self.groups.change(id, &item, wants, net)?;
        }
        Ok(())
    }

    /// Withdraws a group as it was, unless it is withdrawn already.
    fn withdraw(&mut self, id: Id, place: Option<Place>, at: Tick) -> io::Result<()> {
        let place = match self.dirty.get(&id) {
            Some(_) => place,
            None => {
                let was = self.groups.invocation(id)?;
                let place = place.or(was.as_ref().map(|item| item.place).filter(|_| self.grouping.stands_for_itself()));
                self.emitted.items.extend(was.map(|item| (item, at, -1)));
                place
            }
        };
        self.mark(id, place, at);
        Ok(())
    }

    /// Notes that a group has changed in a place. Where more than that place counts a row stands for it as soon as it has one.
    fn mark(&mut self, id: Id, place: Option<Place>, at: Tick) {
        let (key, dirty) = (self.groups.key(id), self.dirty.entry(id).or_default());
        let Some(place) = place else { return };
        if self.grouping.within_row && dirty.places.last() != Some(&place) {
            dirty.places.push(place);
        }
        if self.grouping.stands_for_itself() && dirty.busy.is_none() {
            let busy = dirty.busy.insert(Busy { place, what: hash(key), credited: false });
            self.emitted.busy.push((busy.clone(), at, 1));
        }
    }

    /// Sends on the groups within a row that are complete.
    fn run(&mut self, at: Tick) -> io::Result<()> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        let ledger = &self.ledger;
        let complete = |dirty: &Dirty| ledger.is_empty() || !dirty.places.iter().any(|place| ledger.holds(*place));
        let mut complete: Vec<_> = self.dirty.extract_if(|_, dirty| complete(dirty)).collect();
        complete.sort_unstable_by_key(|(id, _)| *id);
        complete.into_iter().try_for_each(|(id, dirty)| self.send(id, dirty, at).map(drop))
    }

    /// Sends on groups that span rows, once nothing is at work: all of them at the end, else some, the others the next time. The
    /// rows that stand for those say that there is more to come.
    fn run_ready(&mut self, at: Tick, all: bool) -> io::Result<()> {
        if !self.ledger.is_empty() {
            self.ready.clear();
            return Ok(());
        }
        if self.ready.is_empty() {
            self.ready.extend(self.dirty.keys());
            self.ready.sort_unstable_by(|one, other| other.cmp(one));
        }
        let mut sent = 0;
        while let Some(id) = self.ready.pop_if(|_| all || sent < AT_ONCE) {
            if let Some(dirty) = self.dirty.remove(&id) {
                sent += self.send(id, dirty, at)?;
            }
        }
        Ok(())
    }

    /// Sends a group on as it is; the size of its invocation.
    fn send(&mut self, id: Id, dirty: Dirty, at: Tick) -> io::Result<usize> {
        self.emitted.busy.extend(dirty.busy.map(|busy| (busy, at, -1)));
        let Some(item) = self.groups.invocation(id)? else {
            self.groups.tidy(id)?;
            return Ok(0);
        };
        let size = item.bytes.0.len();
        self.emitted.items.push((item, at, 1));
        Ok(size)
    }
}
