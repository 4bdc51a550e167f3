//! Connects the operators as the plan says.

use std::collections::BTreeSet;
use std::sync::Arc;

use differential_dataflow::input::InputSession;
use differential_dataflow::operators::iterate::Variable;
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::Handle;

use super::admit::admit;
use super::apply::{Applied, apply};
use super::ending::Ending;
use super::group::group;
use super::item::{Event, Item, Place, Rejection};
use super::settle::{Settlement, settle};
use super::view::{OnFailure, View, Watched, watch};
use super::{Events, Items, Tick};
use crate::count::Counts;

/// What a node of the graph does.
pub(crate) enum Operator {
    /// Rows are fed from outside.
    Source,
    /// Runs a stage on records or groups.
    Apply(Applied),
    /// Shows the collection to a view.
    Watch(Option<Box<dyn View>>),
}

/// One stage of the plan, ready to be built.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) from: Vec<usize>,
    pub(crate) with: Vec<usize>,
    pub(crate) operator: Operator,
    pub(crate) counts: Arc<Counts>,
    /// Its records go around the loop.
    pub(crate) closes_loop: bool,
    /// Its records begin dialogues and wait to be let in.
    pub(crate) admits: bool,
}

/// The whole graph.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) settlement: Arc<Settlement>,
    pub(crate) ending: Ending,
    pub(crate) fail: OnFailure,
    /// Receives rejections on the first worker.
    pub(crate) rejected: Option<Box<dyn View>>,
}

/// The handles by which a worker drives its part.
pub(crate) struct Built {
    /// One input per source, by node.
    pub(crate) sources: Vec<(usize, InputSession<Tick, Event, isize>)>,
    /// Passes a tick when everything of it is done.
    pub(crate) probe: Handle<Tick>,
}

/// Builds the graph in `scope`. All workers must build the same one.
pub(crate) fn build<'s>(scope: Scope<'s, Tick>, graph: Graph) -> Built {
    let upstream: Vec<BTreeSet<usize>> = (0..graph.nodes.len()).map(|node| upstream(&graph.nodes, node)).collect();
    let order = order(&graph.nodes, &upstream);
    let Graph { nodes, settlement, ending, fail, rejected } = graph;
    let mut builder = Builder::new(scope, &nodes, settlement, ending, fail);
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    for index in order {
        if let Some(node) = nodes[index].take() {
            builder.node(index, node, &upstream[index]);
        }
    }
    builder.finish(rejected)
}

/// Where the next laps go, and the laps as they come back.
type Loop<'s> = (Variable<'s, Tick, Vec<(Item, Tick, isize)>>, Items<'s>);

struct Builder<'s> {
    scope: Scope<'s, Tick>,
    settlement: Arc<Settlement>,
    ending: Ending,
    fail: OnFailure,
    outputs: Vec<Option<Items<'s>>>,
    busy: Vec<Option<Events<'s>>>,
    /// What is under way between two laps, by the node that closes the loop.
    under_way: Vec<Option<Events<'s>>>,
    loops: Vec<Option<Loop<'s>>>,
    all_busy: Vec<Events<'s>>,
    rejections: Vec<Items<'s>>,
    sources: Vec<(usize, InputSession<Tick, Event, isize>)>,
    probe: Handle<Tick>,
}

impl<'s> Builder<'s> {
    fn new(
        scope: Scope<'s, Tick>,
        nodes: &[Node],
        settlement: Arc<Settlement>,
        ending: Ending,
        fail: OnFailure,
    ) -> Self {
        let looped = |node: &Node| {
            node.closes_loop.then(|| {
                let (variable, back) = Variable::new(scope, 1);
                (variable, back)
            })
        };
        Builder {
            scope,
            settlement,
            ending,
            fail,
            outputs: nodes.iter().map(|_| None).collect(),
            busy: nodes.iter().map(|_| None).collect(),
            under_way: nodes.iter().map(|_| None).collect(),
            loops: nodes.iter().map(looped).collect(),
            all_busy: Vec::new(),
            rejections: Vec::new(),
            sources: Vec::new(),
            probe: Handle::new(),
        }
    }

    fn node(&mut self, index: usize, node: Node, upstream: &BTreeSet<usize>) {
        let events = match node.operator {
            Operator::Source => {
                let mut input = InputSession::new();
                let events = input.to_collection(self.scope);
                self.sources.push((index, input));
                events
            }
            Operator::Apply(applied) => {
                let input = self.inputs(&node.from);
                if applied.grouped {
                    let with = (!node.with.is_empty()).then(|| self.inputs(&node.with));
                    let (busy, counts) = (self.busy_of(upstream), Arc::clone(&node.counts));
                    let (groups, rejected) = group(input, with, busy, Arc::clone(&applied.runner), counts);
                    apply(groups, applied).concat(rejected)
                } else {
                    apply(input, applied)
                }
            }
            Operator::Watch(view) => {
                let under_way = upstream.iter().filter_map(|node| self.under_way[*node].clone());
                let busy = self.busy_of(upstream).concatenate(under_way.collect::<Vec<_>>());
                watch(self.inputs(&node.from), busy, self.watched(node.name, view, node.counts))
            }
        };
        let events = if node.admits {
            let gate = admit(outs(events.clone()), Arc::clone(&self.settlement), self.ending.clone());
            events.filter(|event| !matches!(event, Event::Out(_))).concat(gate)
        } else {
            events
        };
        self.record(index, node.closes_loop, events);
    }

    fn record(&mut self, index: usize, closes_loop: bool, events: Events<'s>) {
        let busy = events.clone().filter(|event| matches!(event, Event::Busy(..)));
        self.all_busy.push(busy.clone());
        self.busy[index] = Some(busy);
        self.rejections.push(events.clone().flat_map(move |event| rejection(index, event)));
        let mut output = outs(events);
        if closes_loop {
            output = output.map(|item| Item { place: Place { lap: item.place.lap + 1, ..item.place }, ..item });
            self.close(index, output.clone());
        }
        self.outputs[index] = Some(output);
    }

    fn watched(&self, name: String, view: Option<Box<dyn View>>, counts: Arc<Counts>) -> Watched {
        Watched { name, view, counts, ending: self.ending.clone(), fail: Arc::clone(&self.fail) }
    }

    /// Leads the next laps back. What is under way between two ticks is at work: else a dialogue would look finished
    /// between its turns, to the account as to a view that waits for its last pair.
    fn close(&mut self, index: usize, next: Items<'s>) {
        let Some((variable, back)) = self.loops[index].take() else {
            return;
        };
        let hashed = |item: Item| {
            let hash = differential_dataflow::Hashable::hashed(&item);
            Event::Busy(item.place, hash)
        };
        let under_way = next.clone().map(hashed).concat(back.map(hashed).negate());
        self.all_busy.push(under_way.clone());
        self.under_way[index] = Some(under_way);
        variable.set(next);
    }

    /// All inputs of a stage as one collection; a stage that is not built yet is reached through its loop.
    fn inputs(&self, from: &[usize]) -> Items<'s> {
        let all = from.iter().filter_map(|&from| {
            let looped = self.loops[from].as_ref().map(|(_, back)| back.clone());
            self.outputs[from].clone().or(looped)
        });
        differential_dataflow::collection::concatenate(self.scope, all.collect::<Vec<_>>())
    }

    fn busy_of(&self, upstream: &BTreeSet<usize>) -> Events<'s> {
        let all: Vec<_> = upstream.iter().filter_map(|node| self.busy[*node].clone()).collect();
        differential_dataflow::collection::concatenate(self.scope, all)
    }

    fn finish(self, rejected: Option<Box<dyn View>>) -> Built {
        let watched = self.watched("rejected".into(), rejected, Arc::default());
        let rows = differential_dataflow::collection::concatenate(self.scope, self.rejections);
        let busy = differential_dataflow::collection::concatenate(self.scope, self.all_busy);
        let busy = busy.clone().concat(watch(rows, busy, watched));
        settle(busy, self.settlement, &self.probe);
        Built { sources: self.sources, probe: self.probe }
    }
}

/// An item set aside, as a row for the view of rejections.
fn rejection(stage: usize, event: Event) -> Option<Item> {
    let Event::Rejected(item, reason) = event else {
        return None;
    };
    let place = item.place;
    let row: Rejection = (stage, item.bytes.0.to_vec(), reason);
    serde_json::to_vec(&row).ok().map(|bytes| Item { place, bytes: bytes.into() })
}

fn outs<'s>(events: Events<'s>) -> Items<'s> {
    events.flat_map(|event| match event {
        Event::Out(item) => Some(item),
        _ => None,
    })
}

/// Nodes so that every input comes first, loop edges apart; views come after all that is upstream of them.
fn order(nodes: &[Node], upstream: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut order = Vec::new();
    while order.len() < nodes.len() {
        let built = |from: &usize| order.contains(from);
        let ready = |i: &usize| {
            let mut inputs = nodes[*i].from.iter().chain(&nodes[*i].with);
            let views = matches!(nodes[*i].operator, Operator::Watch(_));
            !built(i)
                && inputs.all(|from| built(from) || nodes[*from].closes_loop)
                && (!views || upstream[*i].iter().all(built))
        };
        let next: Vec<usize> = (0..nodes.len()).filter(ready).collect();
        if next.is_empty() {
            break;
        }
        order.extend(next);
    }
    order
}

/// The nodes whose work can still change what reaches `node`, not counting another lap.
fn upstream(nodes: &[Node], node: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![node];
    while let Some(at) = open.pop() {
        for &from in nodes[at].from.iter().chain(&nodes[at].with) {
            if from != node && found.insert(from) {
                open.push(from);
            }
        }
    }
    found
}
