//! Drawings of a plan, made offline: Graphviz dot, Mermaid and SVG. Edges bear the record type; those of side inputs
//! are dashed.

mod layout;
mod svg;

pub use svg::svg;

use std::fmt::Write;

use super::{Catalog, Plan};

/// One stage reading another.
#[derive(Clone, Debug, PartialEq)]
struct Edge {
    /// The stage that is read.
    source: usize,
    /// The stage that reads.
    target: usize,
    /// The record type.
    record: String,
    /// Whether it is a side input.
    side: bool,
    /// Whether it leads back, from a stage that closes a loop.
    back: bool,
}

fn edges(plan: &Plan, catalog: &dyn Catalog) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (target, stage) in plan.stages.iter().enumerate() {
        let inputs = stage.from.iter().map(|source| (*source, false));
        for (source, side) in inputs.chain(stage.with.iter().map(|source| (*source, true))) {
            let Some(kind) = plan.stages.get(source).and_then(|stage| catalog.stage(&stage.kind)) else {
                continue;
            };
            let in_step = side && catalog.stage(&stage.kind).is_some_and(|kind| kind.in_step);
            let back = in_step
                || kind.closes_loop
                    && plan.stages.get(source).is_some_and(|closing| plan.reaches(&stage.name, closing));
            let record = kind.output.unwrap_or_default().to_owned();
            edges.push(Edge { source, target, record, side, back });
        }
    }
    edges
}

/// The plan as a Graphviz digraph.
pub fn dot(plan: &Plan, catalog: &dyn Catalog) -> String {
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box, style=rounded];\n", plan.name);
    for (index, stage) in plan.stages.iter().enumerate() {
        let _ = writeln!(out, "  s{index} [label=\"{}\\n{}\"];", dot_text(&stage.name), dot_text(&stage.kind));
    }
    for edge in edges(plan, catalog) {
        let style = if edge.side { ", style=dashed" } else { "" };
        let back = if edge.back { ", constraint=false" } else { "" };
        let label = dot_text(&edge.record);
        let _ = writeln!(out, "  s{} -> s{} [label=\"{label}\"{style}{back}];", edge.source, edge.target);
    }
    out + "}\n"
}

fn dot_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// The plan as a Mermaid flowchart.
pub fn mermaid(plan: &Plan, catalog: &dyn Catalog) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for (index, stage) in plan.stages.iter().enumerate() {
        let _ = writeln!(out, "  s{index}[\"{}<br/>{}\"]", mermaid_text(&stage.name), mermaid_text(&stage.kind));
    }
    for edge in edges(plan, catalog) {
        let arrow = if edge.side { "-.->" } else { "-->" };
        let _ = writeln!(out, "  s{} {arrow}|\"{}\"| s{}", edge.source, mermaid_text(&edge.record), edge.target);
    }
    out
}

fn mermaid_text(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
