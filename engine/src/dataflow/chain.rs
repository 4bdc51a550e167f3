//! Stages that follow each other, as one operator.
//!
//! What is plain passes all of them at once, from the first one's records to the last one's, or to the keys of the group that they
//! lead to. An item that is not is given to one after the other, which counts it, waits or sets it aside.

use std::sync::Arc;
use std::time::Instant;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

use super::apply::{Applied, BATCH, State, home};
use super::item::{Busy, Bytes, Item, Key, Rejected};
use super::keyed::{Ask, Keyed, KeyedRecords, keys};
use super::port::{Port, gather, open_tick};
use super::{Busys, Items, Rejects, Tick, Update};
use crate::stage::{Chain as Together, Passed};

/// What the operator makes.
pub(crate) struct Chained<'s> {
    /// The last stage's records; none where there is a group.
    pub(crate) items: Items<'s>,
    /// They and their keys, where there is a group.
    pub(crate) keyed: KeyedRecords<'s>,
    pub(crate) busy: Busys<'s>,
    /// What each stage has set aside; behind them, what the group has no key for.
    pub(crate) rejected: Vec<Rejects<'s>>,
}

/// The operator: maps, or one stage of any kind; `group` is the one that they lead to.
pub(crate) fn chain<'s>(input: Items<'s>, stages: Vec<Applied>, group: Option<Applied>) -> Chained<'s> {
    let scope = input.scope();
    let names: Vec<&str> = stages.iter().map(|stage| &*stage.name).collect();
    let mut builder = OperatorBuilder::new(names.join(" "), scope);
    let mut input = builder.new_input(input.inner, Exchange::new(|(item, _, _): &Update<Item>| home(item.place.root)));
    let (items, made) = Port::new(&mut builder);
    let (keyed, members) = Port::new(&mut builder);
    let (busy, at_work) = Port::new(&mut builder);
    let (rejected, set_aside): (Vec<_>, Vec<_>) = stages.iter().chain(&group).map(|_| Port::new(&mut builder)).unzip();
    let wake = scope.worker().sync_activator_for(builder.operator_info().address.to_vec());
    builder.build(move |mut capabilities| {
        let (mut items, mut keyed) = (items.hold(&mut capabilities), keyed.hold(&mut capabilities));
        let mut busy = busy.hold(&mut capabilities);
        let mut rejected: Vec<_> = rejected.into_iter().map(|port| port.hold(&mut capabilities)).collect();
        let mut chain = Chain::new(stages, group, &wake);
        move |frontiers| {
            let mut changes = Vec::new();
            input.for_each(|_, data| gather(&mut changes, data));
            let Some(front) = items.front() else { return };
            chain.turn(changes, front);
            let next = open_tick(frontiers, &chain.stages[0].stage.ending);
            items.give(&mut chain.items, next);
            keyed.give(&mut chain.keyed, next);
            busy.give(&mut chain.busy, next);
            rejected.iter_mut().zip(chain.rejected()).for_each(|(port, rejected)| port.give(rejected, next));
        }
    });
    Chained { items: made, keyed: members, busy: at_work, rejected: set_aside }
}

struct Chain {
    /// At least one.
    stages: Vec<State>,
    group: Option<Applied>,
    /// Present where they can be run together.
    together: Option<Together>,
    items: Vec<Update<Item>>,
    keyed: Vec<Update<Keyed>>,
    busy: Vec<Update<Busy>>,
    /// What the group has no key for.
    unknown: Vec<Update<Rejected>>,
}

impl Chain {
    fn new(stages: Vec<Applied>, group: Option<Applied>, wake: &SyncActivator) -> Self {
        let plain = stages.iter().all(Applied::is_plain);
        let maps = stages.iter().map(|stage| Arc::clone(&stage.runner)).collect();
        let together =
            if plain { Together::of(maps, group.as_ref().map(|group| Arc::clone(&group.runner))) } else { None };
        let stages = stages.into_iter().map(|stage| State::new(stage, wake.clone())).collect();
        let (items, keyed, busy, unknown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Chain { stages, group, together, items, keyed, busy, unknown }
    }

    /// Takes in changes of the input, and what the stages waited for.
    fn turn(&mut self, changes: Vec<Update<Item>>, front: Tick) {
        let mut begin = Instant::now();
        let mut left = self.pass_all(changes);
        for stage in &mut self.stages {
            stage.change(left);
            stage.answer(front);
            let end = Instant::now();
            stage.stage.counts.work(end - std::mem::replace(&mut begin, end));
            self.busy.append(&mut stage.emitted.busy);
            left = std::mem::take(&mut stage.emitted.items);
        }
        self.end(left);
    }

    /// What each stage has set aside.
    fn rejected(&mut self) -> impl Iterator<Item = &mut Vec<Update<Rejected>>> {
        self.stages.iter_mut().map(|stage| &mut stage.emitted.rejected).chain([&mut self.unknown])
    }

    /// Lets changes pass all stages at once; those that cannot are left.
    fn pass_all(&mut self, changes: Vec<Update<Item>>) -> Vec<Update<Item>> {
        let Some(together) = self.together.take_if(|_| self.stages.iter().all(State::passes)) else {
            return changes;
        };
        let mut left = Vec::new();
        changes.chunks(BATCH).for_each(|batch| self.pass(&together, batch, &mut left));
        self.together = Some(together);
        left
    }

    fn pass(&mut self, together: &Together, batch: &[Update<Item>], left: &mut Vec<Update<Item>>) {
        let records: Vec<&[u8]> = batch.iter().map(|(item, _, _)| &*item.bytes.0).collect();
        let Some(done) = together.run(&records) else { return left.extend_from_slice(batch) };
        let refused = |item: &usize| done.refused[*item];
        left.extend((0..batch.len()).filter(refused).map(|item| batch[item].clone()));
        let copies = (0..batch.len()).map(|item| if done.refused[item] { 0 } else { batch[item].2 });
        self.count(&copies.collect::<Vec<_>>(), done.made());
        for passed in done.passed {
            if !done.refused[passed.item as usize] {
                self.emit(&batch[passed.item as usize], passed);
            }
        }
    }

    /// Counts items of so many copies, of each of which the stages made so many records, at every stage.
    fn count<'a>(&self, copies: &[isize], made: impl Iterator<Item = &'a [u32]>) {
        let mut taken = copies.iter().sum();
        for (state, made) in self.stages.iter().zip(made) {
            let records = copies.iter().zip(made).map(|(copies, made)| copies * *made as isize).sum();
            state.stage.counts.take(taken);
            state.stage.counts.finish(taken, records);
            taken = records;
        }
    }

    fn emit(&mut self, (of, at, net): &Update<Item>, passed: Passed) {
        let item = Item { place: of.place, bytes: Bytes(passed.record) };
        match passed.keys {
            Some((key, wants)) => self.keyed.push((Keyed { item, key: Key(key), wants: wants.map(Key) }, *at, *net)),
            None => self.items.push((item, *at, *net)),
        }
    }

    /// Records at the end of the chain, that came there one stage after the other.
    fn end(&mut self, mut records: Vec<Update<Item>>) {
        let Some(group) = self.group.as_ref().filter(|_| !records.is_empty()) else {
            return gather(&mut self.items, &mut records);
        };
        let (mut known, mut unknown) = keys(&*group.runner, &group.counts, Ask::Members, records);
        self.keyed.append(&mut known);
        self.unknown.append(&mut unknown);
    }
}

#[cfg(test)]
mod tests;
