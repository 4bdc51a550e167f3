//! The plan as a self-contained SVG image.

use std::fmt::Write;

use super::layout::{Layout, layout};
use super::{Edge, edges};
use crate::pipeline::{Catalog, Plan};

/// Pixels. A character of the 12-pixel monospace face is 0.6 em wide.
const CHARACTER: f64 = 7.3;
const BOX_HEIGHT: f64 = 44.0;
const BOX_PADDING: f64 = 24.0;
const MARGIN: f64 = 24.0;
const LANE: f64 = 24.0;
const MIN_GAP: f64 = 80.0;
/// Where an edge has its label, as a part of its first curve: in the middle, crossing edges would share the place.
const LABEL_AT: f64 = 1.0 / 3.0;

const STYLE: &str = "text{font:12px ui-monospace,monospace;text-anchor:middle;fill:#222}.name{font-weight:bold}\
.type,.record{fill:#666}.record{paint-order:stroke;stroke:#fff;stroke-width:4px}\
rect{fill:#f4f6fa;stroke:#5b6b8c}path{fill:none;stroke:#8a94a6;stroke-width:1.4}.side{stroke-dasharray:5 4}\
.back{stroke:#b5651d}#tip path{fill:#8a94a6;stroke:none}";

/// The plan as an SVG image: stages from left to right, loops led back below them.
pub fn svg(plan: &Plan, catalog: &dyn Catalog) -> String {
    let edges = edges(plan, catalog);
    Drawing::new(plan, &edges, layout(plan.stages.len(), &edges)).draw()
}

struct Drawing<'a> {
    plan: &'a Plan,
    edges: &'a [Edge],
    layout: Layout,
    /// The left edge and the width of each column.
    columns: Vec<(f64, f64)>,
    /// The lower edge of the lowest box.
    bottom: f64,
}

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

impl<'a> Drawing<'a> {
    fn new(plan: &'a Plan, edges: &'a [Edge], layout: Layout) -> Self {
        let bottom = layout.ys.iter().copied().fold(0.0, f64::max) + MARGIN + BOX_HEIGHT;
        let mut drawing = Self { plan, edges, layout, columns: Vec::new(), bottom };
        let count = drawing.layout.columns.iter().max().map_or(0, |last| last + 1);
        let mut x = MARGIN + drawing.loop_space();
        for column in 0..count {
            let width = drawing.column_width(column);
            drawing.columns.push((x, width));
            x += width + drawing.gap_behind(column);
        }
        drawing
    }

    fn back_edges(&self) -> impl Iterator<Item = &'a Edge> + use<'a> {
        self.edges.iter().filter(|edge| edge.back)
    }

    /// Room for loops before the first and behind the last column.
    fn loop_space(&self) -> f64 {
        if self.back_edges().next().is_some() { LANE } else { 0.0 }
    }

    fn box_width(&self, stage: usize) -> f64 {
        let stage = self.plan.stages.get(stage);
        let longest = stage.map_or(0, |stage| stage.name.chars().count().max(stage.kind.chars().count()));
        longest as f64 * CHARACTER + BOX_PADDING
    }

    fn column_width(&self, column: usize) -> f64 {
        let stages = (0..self.plan.stages.len()).filter(|stage| self.layout.columns.get(*stage) == Some(&column));
        stages.map(|stage| self.box_width(stage)).fold(0.0, f64::max)
    }

    /// The gap behind a column: room for the labels of the edges that start in it.
    fn gap_behind(&self, column: usize) -> f64 {
        let starting = self.edges.iter().filter(|edge| self.layout.columns.get(edge.source) == Some(&column));
        starting.map(|edge| label_width(edge) * 1.7 + 24.0).fold(MIN_GAP, f64::max)
    }

    /// The left edge and the width of an item's column.
    fn column(&self, item: usize) -> (f64, f64) {
        let column = self.layout.columns.get(item).and_then(|column| self.columns.get(*column));
        column.copied().unwrap_or_default()
    }

    /// The middle of an item's left side, or of its right one. A bend is as wide as its column.
    fn side(&self, item: usize, right: bool) -> Point {
        let (left, width) = self.column(item);
        let own = if item < self.plan.stages.len() { self.box_width(item) } else { width };
        let y = self.layout.ys.get(item).copied().unwrap_or_default() + MARGIN + BOX_HEIGHT / 2.0;
        let half = if right { own / 2.0 } else { -own / 2.0 };
        Point { x: left + width / 2.0 + half, y }
    }

    fn draw(&self) -> String {
        let (mut lines, mut labels) = (String::new(), String::new());
        let forward = self.edges.iter().zip(&self.layout.routes).filter(|(edge, _)| !edge.back);
        for (edge, route) in forward {
            self.forward(edge, route, &mut lines, &mut labels);
        }
        for (lane, edge) in self.back_edges().enumerate() {
            self.back(edge, lane as f64, &mut lines, &mut labels);
        }
        let boxes: String = (0..self.plan.stages.len()).map(|stage| self.stage(stage)).collect();
        format!("{}{lines}{boxes}{labels}</svg>\n", self.header())
    }

    fn header(&self) -> String {
        let right = self.columns.last().map_or(0.0, |(left, width)| left + width);
        let width = right + self.loop_space() + MARGIN;
        let height = self.bottom + self.back_edges().count() as f64 * LANE + MARGIN;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0L8 4L0 8Z\"/></marker></defs>\n\
             <rect width=\"100%\" height=\"100%\" style=\"fill:#fff;stroke:none\"/>\n",
            escape(&self.plan.name)
        )
    }

    /// An edge through the bends of its route, curved between columns, straight through them.
    fn forward(&self, edge: &Edge, route: &[usize], lines: &mut String, labels: &mut String) {
        let mut path = String::new();
        for pair in route.windows(2) {
            let (from, to) = (self.side(pair[0], true), self.side(pair[1], false));
            let middle = (from.x + to.x) / 2.0;
            let start = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{start}{:.1} {:.1}", from.x, from.y);
            let _ = write!(path, "C{middle:.1} {:.1} {middle:.1} {:.1} {:.1} {:.1}", from.y, to.y, to.x, to.y);
            if pair[0] == edge.source {
                label(labels, edge, on_curve(from, to));
            }
        }
        line(lines, edge, &path);
    }

    /// A loop's edge, led back in a lane below all boxes.
    fn back(&self, edge: &Edge, lane: f64, lines: &mut String, labels: &mut String) {
        let (from, to) = (self.side(edge.source, true), self.side(edge.target, false));
        let reach = LANE / 2.0 + lane * 4.0;
        let (source, target) = (self.column(edge.source), self.column(edge.target));
        let (right, left, y) = (source.0 + source.1 + reach, target.0 - reach, self.bottom + (lane + 1.0) * LANE);
        let path = format!("M{:.1} {:.1}H{right:.1}V{y:.1}H{left:.1}V{:.1}H{:.1}", from.x, from.y, to.y, to.x);
        line(lines, edge, &path);
        label(labels, edge, Point { x: (left + right) / 2.0, y });
    }

    fn stage(&self, stage: usize) -> String {
        let Some(plan) = self.plan.stages.get(stage) else {
            return String::new();
        };
        let (left, right) = (self.side(stage, false), self.side(stage, true));
        let (x, y, width) = (left.x, left.y - BOX_HEIGHT / 2.0, right.x - left.x);
        let middle = x + width / 2.0;
        format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/>\
             <text class=\"name\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"type\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>\n",
            left.y - 4.0,
            escape(&plan.name),
            left.y + 13.0,
            escape(&plan.kind)
        )
    }
}

/// The label's place on the curve between two sides.
fn on_curve(from: Point, to: Point) -> Point {
    let t = LABEL_AT;
    let (near, far) = (3.0 * (1.0 - t) * (1.0 - t) * t, 3.0 * (1.0 - t) * t * t);
    let end = t * t * t;
    Point { x: from.x + (to.x - from.x) * ((near + far) / 2.0 + end), y: from.y + (to.y - from.y) * (far + end) }
}

fn label_width(edge: &Edge) -> f64 {
    edge.record.chars().count() as f64 * CHARACTER
}

fn class(edge: &Edge) -> &'static str {
    match (edge.side, edge.back) {
        (false, false) => "edge",
        (true, false) => "edge side",
        (false, true) => "edge back",
        (true, true) => "edge side back",
    }
}

fn line(lines: &mut String, edge: &Edge, path: &str) {
    let _ = writeln!(lines, "<path class=\"{}\" d=\"{path}\" marker-end=\"url(#tip)\"/>", class(edge));
}

fn label(labels: &mut String, edge: &Edge, at: Point) {
    let text = escape(&edge.record);
    let _ = writeln!(labels, "<text class=\"record\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", at.x, at.y + 4.0);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
