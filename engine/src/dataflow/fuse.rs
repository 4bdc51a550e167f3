//! Which stages become one operator: maps that follow each other, and the group that they lead to.

use std::sync::Arc;

use super::apply::Applied;
use super::build::{Node, Operator};
use crate::stage::Chain;

/// Puts stages into the nodes that alone take their records, where both can be run together. Their own are gone.
pub(super) fn fuse(nodes: Vec<Node>) -> Vec<Option<Node>> {
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    for index in 0..nodes.len() {
        if let Some(taker) = taker(&nodes, index)
            && let Some(node) = nodes[index].take()
        {
            put_before(node, index, &mut nodes[taker]);
        }
    }
    nodes
}

fn put_before(node: Node, index: usize, taker: &mut Option<Node>) {
    if let (Some(taker), Operator::Apply(applied)) = (taker, node.operator) {
        let behind = std::mem::take(&mut taker.before);
        taker.before = node.before.into_iter().chain([(index, applied)]).chain(behind).collect();
        taker.from = node.from;
    }
}

/// The node that a node can be put into.
fn taker(nodes: &[Option<Node>], index: usize) -> Option<usize> {
    let (node, (at, taker)) = (nodes[index].as_ref()?, only_taker(nodes, index)?);
    let (own, last) = (applied(node)?, applied(taker)?);
    let grouped = last.grouped.is_some();
    if taker.lag.is_some() || node.closes_loop || !own.is_plain() || (!grouped && !last.is_plain()) {
        return None;
    }
    let before = |node: &Node| node.before.iter().map(|(_, stage)| Arc::clone(&stage.runner)).collect::<Vec<_>>();
    let (runner, last) = (Arc::clone(&own.runner), Arc::clone(&last.runner));
    let mut maps = [before(node), vec![runner], before(taker)].concat();
    let group = if grouped {
        Some(last)
    } else {
        maps.push(last);
        None
    };
    Chain::of(maps, group).map(|_| at)
}

/// The node that takes another one's records, if it is the only one and takes no others.
fn only_taker(nodes: &[Option<Node>], index: usize) -> Option<(usize, &Node)> {
    let takes = |node: &&Node| node.from.contains(&index) || node.with.contains(&index);
    let mut takers = nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.as_ref().filter(takes)?)));
    let only =
        takers.next().filter(|(at, taker)| *at != index && taker.from == [index] && !taker.with.contains(&index));
    only.filter(|_| takers.next().is_none())
}

fn applied(node: &Node) -> Option<&Applied> {
    match &node.operator {
        Operator::Apply(applied) => Some(applied),
        _ => None,
    }
}
