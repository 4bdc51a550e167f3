//! What waits to be let through: an effect like any other, the item waits and lands late.

use std::collections::{BTreeMap, HashMap, HashSet};

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

use super::ending::Ending;
use super::item::{Busy, Item, Place};
use super::port::{Emitted, Ports, open_tick};
use super::{Items, Made, Tick, Update};

/// The operator; all of it happens on the first worker. `wake` is given what has it look again whether there is a pass, and `make`
/// makes of an item and its pass what goes through.
pub(super) fn gate<'s, P: 'static>(
    input: Items<'s>,
    name: &str,
    wake: impl FnOnce(SyncActivator),
    pass: impl Fn(&Item, Tick) -> Option<P> + 'static,
    make: fn(Item, &P) -> Result<Item, String>,
    ending: Ending,
) -> Made<'s> {
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(name.into(), scope);
    let mut input = builder.new_input(input.inner, Exchange::new(|_: &Update<Item>| 0));
    let (ports, made) = Ports::new(&mut builder);
    wake(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    builder.build(move |mut capabilities| {
        let (mut ports, mut gate) = (ports.hold(&mut capabilities), Gate::new(make));
        move |frontiers| {
            let mut changes = Vec::new();
            input.for_each(|_, data| changes.append(data));
            let Some(front) = ports.front() else { return };
            gate.change(changes);
            if ending.is_draining() {
                gate.leave(front);
            }
            gate.open(front, &pass);
            ports.give(&mut gate.emitted, open_tick(frontiers, &ending));
        }
    });
    made
}

/// Items before a gate, and those inside with what they were let in by: a withdrawal withdraws what was made of that.
struct Gate<P> {
    waiting: BTreeMap<Item, (Tick, isize)>,
    /// Passes and copies of those inside, by place and hash.
    inside: HashMap<(Place, u64), (P, isize)>,
    /// Places of all that has ever been let in: what comes back there is an edit of it, and no news.
    entered: HashSet<Place>,
    /// What is made of an item and its pass.
    make: fn(Item, &P) -> Result<Item, String>,
    emitted: Emitted,
}

impl<P> Gate<P> {
    fn new(make: fn(Item, &P) -> Result<Item, String>) -> Self {
        Gate {
            waiting: BTreeMap::new(),
            inside: HashMap::new(),
            entered: HashSet::new(),
            make,
            emitted: Emitted::default(),
        }
    }

    /// Takes in what comes and goes before the gate.
    fn change(&mut self, mut changes: Vec<Update<Item>>) {
        differential_dataflow::consolidation::consolidate_updates(&mut changes);
        for (item, at, net) in changes {
            let known = (item.place, item.hash());
            if let Some((pass, inside)) = self.inside.get_mut(&known) {
                *inside += net;
                emit(&mut self.emitted, (self.make)(item.clone(), pass), item, at, net);
                if *inside == 0 {
                    self.inside.remove(&known);
                }
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

    /// Forgets what waits and is new: it is at work no more.
    fn leave(&mut self, front: Tick) {
        let left = self.waiting.extract_if(.., |item, _| !self.entered.contains(&item.place));
        self.emitted.busy.extend(left.map(|(item, (since, _))| (Busy::with(&item), since.max(front), -1)));
    }

    /// Lets waiting items in, in order, up to the first for which there is no pass.
    fn open(&mut self, front: Tick, pass: &impl Fn(&Item, Tick) -> Option<P>) {
        while let Some(next) = self.waiting.first_entry() {
            let at = next.get().0.max(front);
            let Some(pass) = pass(next.key(), at) else { return };
            let (item, (_, net)) = next.remove_entry();
            self.emitted.busy.push((Busy::with(&item), at, -1));
            emit(&mut self.emitted, (self.make)(item.clone(), &pass), item.clone(), at, net);
            self.entered.insert(item.place);
            self.inside.insert((item.place, item.hash()), (pass, net));
        }
    }
}

fn emit(emitted: &mut Emitted, made: Result<Item, String>, item: Item, at: Tick, net: isize) {
    match made {
        Ok(made) => emitted.items.push((made, at, net)),
        Err(reason) => emitted.rejected.push(((item, reason), at, net)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::item::Bytes;

    fn item(root: u64, text: &str) -> Item {
        Item { place: Place { root, lap: 0 }, bytes: Bytes::from(text.as_bytes().to_vec()) }
    }

    #[test]
    fn a_gate_that_drains_leaves_what_is_new_and_lets_edits_in() {
        let mut gate = Gate::new(|item, _| Ok(item));
        let open = |gate: &mut Gate<()>| gate.open(1, &|_, _| Some(()));
        gate.change(vec![(item(1, "tea"), 0, 1)]);
        open(&mut gate);
        gate.change(vec![(item(1, "tea"), 1, -1), (item(1, "milk"), 1, 1), (item(2, "new"), 1, 1)]);
        gate.leave(1);
        open(&mut gate);
        let passed: Vec<_> = gate.emitted.items.iter().map(|(item, _, net)| (item.clone(), *net)).collect();
        assert_eq!(passed, [(item(1, "tea"), 1), (item(1, "tea"), -1), (item(1, "milk"), 1)]);
        // Nothing waits any more.
        let busy: isize = gate.emitted.busy.iter().map(|(_, _, net)| net).sum();
        assert_eq!((gate.waiting.len(), busy), (0, 0));
    }
}
