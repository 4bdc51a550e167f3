//! All stages that train at a glance: a small curve for each metric. Each has a scale of its own: losses of different methods are no
//! measure of each other, and one that diverged would flatten all others.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Axis, MOST_POINTS, line, means, values};

/// Size of a small curve, in SVG units.
const WIDTH: f64 = 96.0;
const HEIGHT: f64 = 24.0;
/// Room for the mark at the end of a line.
const EDGE: f64 = 3.0;

const METRICS: [(&str, &str); 5] = [
    ("Loss", "loss"),
    ("Reward of chosen", "rewards/chosen"),
    ("Reward of rejected", "rewards/rejected"),
    ("Margin", "rewards/margins"),
    ("Accuracy", "rewards/accuracies"),
];

/// Stages against metrics.
#[derive(Serialize)]
pub(in super::super) struct Overview<'a> {
    width: f64,
    height: f64,
    columns: Vec<&'static str>,
    lines: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    stage: &'a str,
    /// One for each column; none where the stage logs no such metric.
    cells: Vec<Option<super::Line>>,
}

type Logged = Vec<BTreeMap<String, f64>>;

/// What the stages logged; a metric that none has is left out.
pub(in super::super) fn overview(metrics: &BTreeMap<String, Logged>) -> Overview<'_> {
    let has = |metric: &str| metrics.values().any(|rows| !values(metric, rows).is_empty());
    let columns: Vec<_> = METRICS.into_iter().filter(|(_, metric)| has(metric)).collect();
    let cells = |rows| columns.iter().map(|(_, metric)| spark(metric, rows)).collect();
    let lines = metrics.iter().map(|(stage, rows)| Line { stage, cells: cells(rows) }).collect();
    Overview { width: WIDTH, height: HEIGHT, columns: columns.iter().map(|(title, _)| *title).collect(), lines }
}

fn spark(metric: &str, rows: &Logged) -> Option<super::Line> {
    let all = values(metric, rows);
    // A small curve needs a tenth of a chart's points.
    let points = means(&all, all.len().div_ceil(MOST_POINTS / 10).max(1));
    let x = Axis::over(points.iter().map(|point| point.0), EDGE, WIDTH - EDGE, 0.0)?;
    let y = Axis::over(points.iter().map(|point| point.1), HEIGHT - EDGE, EDGE, 0.0)?;
    line("", &points, &x, &y)
}
