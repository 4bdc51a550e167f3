//! Connects the operators as the plan says.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use differential_dataflow::collection::concatenate;
use differential_dataflow::input::InputSession;
use differential_dataflow::operators::iterate::Variable;
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::Handle;

use super::admit::admit;
use super::apply::{Applied, Within};
use super::chain::{Chained, chain};
use super::ending::Ending;
use super::fuse::fuse;
use super::group::{Grouping, group};
use super::item::{Busy, Bytes, Item, Place, Rejected, Rejection};
use super::keyed::{Ask, KeyedRecords, keyed};
use super::settle::{Settlement, settle};
use super::version::{Versions, in_step};
use super::view::{OnFailure, View, Watched, watch};
use super::{Busys, Items, Made, Rejects, Tick, Update};
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
    /// Maps that are run before it in the same operator, with their nodes.
    pub(crate) before: Vec<(usize, Applied)>,
    pub(crate) operator: Operator,
    pub(crate) counts: Arc<Counts>,
    /// Its records go around the loop.
    pub(crate) closes_loop: bool,
    /// Its records begin dialogues and wait to be let in.
    pub(crate) admits: bool,
    /// Its groups wait until nothing that makes side records is at work.
    pub(crate) sides_first: bool,
    /// Its records are made in step with the view that is its side input, with so many rows under way.
    pub(crate) lag: Option<u64>,
}

impl Node {
    /// The nodes that come before it in the dataflow: versions come back to what is made with them beside it.
    fn inputs(&self) -> impl Iterator<Item = &usize> {
        self.from.iter().chain(self.with.iter().filter(|_| self.lag.is_none()))
    }

    /// Whether it has to know of everything that is at work upstream.
    fn waits_for_all(&self) -> bool {
        match &self.operator {
            Operator::Watch(_) => true,
            Operator::Apply(applied) => applied.grouped == Some(Within::All),
            Operator::Source => false,
        }
    }
}

/// The whole graph.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) settlement: Arc<Settlement>,
    pub(crate) ending: Ending,
    pub(crate) fail: OnFailure,
    /// Where operators put what does not fit into memory.
    pub(crate) spill: PathBuf,
    /// Receives rejections on the first worker.
    pub(crate) rejected: Option<Box<dyn View>>,
    /// Whether views are there, in this process or another, to make versions.
    pub(crate) versions: bool,
}

/// What a source is fed through.
pub(crate) struct Source {
    pub(crate) node: usize,
    pub(crate) items: InputSession<Tick, Item, isize>,
    pub(crate) busy: InputSession<Tick, Busy, isize>,
    pub(crate) rejected: InputSession<Tick, Rejected, isize>,
}

impl Source {
    /// Sends off what was fed; what is fed from now on happens at `tick`.
    pub(crate) fn advance_to(&mut self, tick: Tick) {
        self.items.advance_to(tick);
        self.items.flush();
        self.busy.advance_to(tick);
        self.busy.flush();
        self.rejected.advance_to(tick);
        self.rejected.flush();
    }
}

/// The handles by which a worker drives its part.
pub(crate) struct Built {
    pub(crate) sources: Vec<Source>,
    /// Passes a tick when everything of it is done.
    pub(crate) probe: Handle<Tick>,
}

/// Builds the graph in `scope`. All workers must build the same one.
pub(crate) fn build<'s>(scope: Scope<'s, Tick>, mut graph: Graph) -> Built {
    let upstream: Vec<BTreeSet<usize>> = (0..graph.nodes.len()).map(|node| upstream(&graph.nodes, node)).collect();
    let mut nodes = fuse(std::mem::take(&mut graph.nodes));
    let order = order(&nodes, &upstream);
    let rejected = graph.rejected.take();
    let mut builder = Builder::new(scope, &nodes, graph);
    for index in order {
        if let Some(node) = nodes[index].take() {
            builder.node(index, node, &upstream);
        }
    }
    builder.finish(rejected)
}

/// Where the next laps go, and the laps as they come back.
type Loop<'s> = (Variable<'s, Tick, Vec<Update<Item>>>, Items<'s>);

/// Records of a group with their keys, and those whose keys cannot be told.
type Members<'s> = (KeyedRecords<'s>, Rejects<'s>);

struct Builder<'s> {
    scope: Scope<'s, Tick>,
    /// What all nodes share; its nodes are taken out.
    graph: Graph,
    outputs: Vec<Option<Items<'s>>>,
    busy: Vec<Option<Busys<'s>>>,
    /// What is under way between two laps, by the node that closes the loop.
    under_way: Vec<Option<Busys<'s>>>,
    loops: Vec<Option<Loop<'s>>>,
    all_busy: Vec<Busys<'s>>,
    rejections: Vec<Items<'s>>,
    /// The versions of views, by their nodes.
    versions: HashMap<usize, Arc<Versions>>,
    sources: Vec<Source>,
    probe: Handle<Tick>,
}

impl<'s> Builder<'s> {
    fn new(scope: Scope<'s, Tick>, nodes: &[Option<Node>], graph: Graph) -> Self {
        let looped =
            |node: &Option<Node>| node.as_ref().is_some_and(|node| node.closes_loop).then(|| Variable::new(scope, 1));
        Builder {
            scope,
            graph,
            outputs: nodes.iter().map(|_| None).collect(),
            busy: nodes.iter().map(|_| None).collect(),
            under_way: nodes.iter().map(|_| None).collect(),
            loops: nodes.iter().map(looped).collect(),
            all_busy: Vec::new(),
            rejections: Vec::new(),
            versions: HashMap::new(),
            sources: Vec::new(),
            probe: Handle::new(),
        }
    }

    fn node(&mut self, index: usize, node: Node, all: &[BTreeSet<usize>]) {
        let upstream = &all[index];
        let (closes_loop, admits) = (node.closes_loop, node.admits);
        let made = match (node.operator, node.lag) {
            (Operator::Source, _) => self.source(index),
            (Operator::Apply(applied), Some(lag)) => {
                let view = node.with.first().filter(|_| self.graph.versions);
                let versions = view.map_or_else(Versions::absent, |view| self.versions(*view));
                let (input, ending) = (self.inputs(&node.from), self.graph.ending.clone());
                in_step(input, versions, lag, ending).then(|invocations| apply(invocations, applied))
            }
            (Operator::Apply(applied), None) if applied.grouped.is_some() => {
                let members = self.members(&node.from, node.before, &applied);
                let sides = node.with.iter().filter(|_| node.sides_first);
                let ahead = sides.flat_map(|with| all[*with].iter().chain([with])).copied().collect();
                let groups = self.grouped(members, &node.with, &applied, [upstream, &ahead]);
                groups.then(|invocations| apply(invocations, applied))
            }
            (Operator::Apply(applied), None) => {
                let (nodes, mut stages): (Vec<_>, Vec<_>) = node.before.into_iter().unzip();
                stages.push(applied);
                let Chained { items, busy, rejected, .. } = chain(self.inputs(&node.from), stages, None);
                Made { items, busy, rejected: self.set_aside(nodes, rejected) }
            }
            (Operator::Watch(view), _) => {
                let versions = self.versions(index);
                let watched = Watched { versions, ..self.watched(node.name, view, node.counts) };
                watch(self.inputs(&node.from), self.busy_of(upstream), watched)
            }
        };
        let made = if admits {
            let (settlement, ending) = (Arc::clone(&self.graph.settlement), self.graph.ending.clone());
            made.then(|items| admit(items, settlement, ending))
        } else {
            made
        };
        self.record(index, closes_loop, made);
    }

    fn source(&mut self, node: usize) -> Made<'s> {
        let (mut items, mut busy, mut rejected) = (InputSession::new(), InputSession::new(), InputSession::new());
        let made = Made {
            items: items.to_collection(self.scope),
            busy: busy.to_collection(self.scope),
            rejected: rejected.to_collection(self.scope),
        };
        self.sources.push(Source { node, items, busy, rejected });
        made
    }

    /// The records of a group stage with their keys, from the maps before it, and those whose keys cannot be told.
    fn members(&mut self, from: &[usize], before: Vec<(usize, Applied)>, group: &Applied) -> Members<'s> {
        let (nodes, stages): (Vec<_>, Vec<_>) = before.into_iter().unzip();
        let Some(last) = nodes.last().copied() else { return keyed(self.inputs(from), Ask::Members, group) };
        let Chained { keyed, busy, rejected, .. } = chain(self.inputs(from), stages, Some(group.clone()));
        self.all_busy.push(busy.clone());
        self.busy[last] = Some(busy);
        (keyed, self.set_aside(nodes, rejected))
    }

    /// Takes what the maps of these nodes have set aside; what is left is the last stage's.
    fn set_aside(&mut self, nodes: Vec<usize>, mut rejected: Vec<Rejects<'s>>) -> Rejects<'s> {
        let last = rejected.split_off(nodes.len());
        nodes.into_iter().zip(rejected).for_each(|(node, rejected)| self.reject(node, rejected));
        concatenate(self.scope, last)
    }

    fn reject(&mut self, node: usize, rejected: Rejects<'s>) {
        self.rejections.push(rejected.flat_map(move |rejected| rejection(node, rejected)));
    }

    /// The invocations of a group stage, what they wait for, and the records whose keys cannot be told.
    fn grouped(
        &self,
        (members, unknown): Members<'s>,
        with: &[usize],
        applied: &Applied,
        [upstream, ahead]: [&BTreeSet<usize>; 2],
    ) -> Made<'s> {
        let (sides, unknown_sides) = keyed(self.inputs(with), Ask::Sides, applied);
        let grouping = Grouping {
            name: applied.name.to_string(),
            within_row: applied.grouped == Some(Within::Row),
            sides_first: !ahead.is_empty(),
            spill: self.graph.spill.clone(),
            ending: self.graph.ending.clone(),
            fail: Arc::clone(&self.graph.fail),
        };
        let made = group(members, sides, [self.busy_of(upstream), self.busy_of(ahead)], grouping);
        Made { rejected: made.rejected.concat(unknown).concat(unknown_sides), ..made }
    }

    fn record(&mut self, index: usize, closes_loop: bool, made: Made<'s>) {
        self.all_busy.push(made.busy.clone());
        self.busy[index] = Some(made.busy);
        self.reject(index, made.rejected);
        let mut output = made.items;
        if closes_loop {
            output = output.map(|item| Item { place: Place { lap: item.place.lap + 1, ..item.place }, ..item });
            self.close(index, output.clone());
        }
        self.outputs[index] = Some(output);
    }

    fn versions(&mut self, view: usize) -> Arc<Versions> {
        Arc::clone(self.versions.entry(view).or_default())
    }

    fn watched(&self, name: String, view: Option<Box<dyn View>>, counts: Arc<Counts>) -> Watched {
        let (versions, ending, fail) = (Arc::default(), self.graph.ending.clone(), Arc::clone(&self.graph.fail));
        Watched { name, view, counts, versions, ending, fail }
    }

    /// Leads the next laps back. What is under way between two ticks is at work: else a dialogue would look finished
    /// between its turns, to the account as to a view that waits for its last pair.
    fn close(&mut self, index: usize, next: Items<'s>) {
        let Some((variable, back)) = self.loops[index].take() else {
            return;
        };
        let hashed = |item: Item| Busy::with(&item);
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
        concatenate(self.scope, all.collect::<Vec<_>>())
    }

    /// What is at work in nodes, as far as they are built, and on their way around the loop.
    fn busy_of(&self, upstream: &BTreeSet<usize>) -> Busys<'s> {
        let of = |node: &usize| [self.busy[*node].clone(), self.under_way[*node].clone()];
        concatenate(self.scope, upstream.iter().flat_map(of).flatten().collect::<Vec<_>>())
    }

    fn finish(self, rejected: Option<Box<dyn View>>) -> Built {
        let watched = self.watched("rejected".into(), rejected, Arc::default());
        let rows = concatenate(self.scope, self.rejections);
        let busy = concatenate(self.scope, self.all_busy);
        let busy = busy.clone().concat(watch(rows, busy, watched).busy);
        settle(busy, self.graph.settlement, &self.probe);
        Built { sources: self.sources, probe: self.probe }
    }
}

/// A single stage, as an operator.
fn apply<'s>(input: Items<'s>, stage: Applied) -> Made<'s> {
    let scope = input.scope();
    let Chained { items, busy, rejected, .. } = chain(input, vec![stage], None);
    Made { items, busy, rejected: concatenate(scope, rejected) }
}

/// An item set aside, as a row for the view of rejections.
fn rejection(stage: usize, (item, reason): Rejected) -> Option<Item> {
    let place = item.place;
    let row: Rejection = (stage, item.bytes.0.to_vec(), reason);
    serde_json::to_vec(&row).ok().map(|bytes| Item { place, bytes: Bytes::from(bytes) })
}

/// Nodes so that every input comes first, loop edges apart; those that wait for all that is upstream of them come after it.
fn order(nodes: &[Option<Node>], upstream: &[BTreeSet<usize>]) -> Vec<usize> {
    let there: Vec<(usize, &Node)> = (0..).zip(nodes).filter_map(|(i, node)| Some((i, node.as_ref()?))).collect();
    let mut order = Vec::new();
    while order.len() < there.len() {
        let built = |from: &usize| order.contains(from);
        let loops = |from: &usize| nodes[*from].as_ref().is_some_and(|node| node.closes_loop);
        let gone = |from: &usize| nodes[*from].is_none();
        let ready = |(i, node): &(usize, &Node)| {
            let mut inputs = node.inputs();
            !built(i)
                && inputs.all(|from| built(from) || loops(from))
                && (!node.waits_for_all() || upstream[*i].iter().all(|from| built(from) || gone(from)))
        };
        let next: Vec<usize> = there.iter().copied().filter(ready).map(|(i, _)| i).collect();
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
        for &from in nodes[at].inputs() {
            if from != node && found.insert(from) {
                open.push(from);
            }
        }
    }
    found
}
