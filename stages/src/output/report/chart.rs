//! Curves over training steps as geometry for inline SVG. Lines differ in dash as well as colour.

pub(super) mod overview;

use std::collections::BTreeMap;

use serde::Serialize;

/// Size of the drawing, in SVG units: about the CSS pixels of a phone's column, so that its text keeps its size.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 200.0;
/// Room for the labels of the axes.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// More points than this are drawn as means of consecutive ones.
const MOST_POINTS: usize = 400;

/// Title and the metrics drawn together, by TRL's names with the words that the legend uses.
const CHARTS: [(&str, &[(&str, &str)]); 4] = [
    ("Loss", &[("loss", "loss")]),
    ("Rewards", &[("rewards/chosen", "chosen"), ("rewards/rejected", "rejected")]),
    ("Reward margin", &[("rewards/margins", "chosen − rejected")]),
    ("Reward accuracy", &[("rewards/accuracies", "chosen > rejected")]),
];

/// One drawing.
#[derive(Debug, Serialize)]
pub(in crate::output) struct Chart {
    title: &'static str,
    width: f64,
    height: f64,
    /// Ends of the horizontal lines.
    left: f64,
    right: f64,
    /// Baseline of the steps' labels.
    foot: f64,
    y_ticks: Vec<Tick>,
    x_ticks: Vec<Tick>,
    lines: Vec<Line>,
    /// How many logged values a point stands for.
    per_point: usize,
}

#[derive(Debug, Serialize)]
struct Tick {
    at: String,
    label: String,
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    /// `x,y x,y ...`.
    points: String,
    /// The last point, marked; a line of one point is nothing else.
    end: [String; 2],
    first: String,
    last: String,
}

/// The charts that the metrics have values for.
pub(in crate::output) fn charts(metrics: &[BTreeMap<String, f64>]) -> Vec<Chart> {
    CHARTS.iter().filter_map(|(title, series)| chart(title, series, metrics)).collect()
}

fn chart(title: &'static str, series: &[(&str, &'static str)], metrics: &[BTreeMap<String, f64>]) -> Option<Chart> {
    let all: Vec<_> = series.iter().map(|(metric, name)| (*name, values(metric, metrics))).collect();
    let per_point = all.iter().map(|(_, v)| v.len().div_ceil(MOST_POINTS)).max().unwrap_or(1).max(1);
    let all: Vec<_> = all.into_iter().map(|(name, v)| (name, means(&v, per_point))).collect();
    let x = Axis::over(all.iter().flat_map(|(_, v)| v.iter().map(|p| p.0)), LEFT, WIDTH - RIGHT, 0.0)?;
    let y = Axis::over(all.iter().flat_map(|(_, v)| v.iter().map(|p| p.1)), HEIGHT - BOTTOM, TOP, 0.05)?;
    Some(Chart {
        title,
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: WIDTH - RIGHT,
        foot: HEIGHT - 6.0,
        y_ticks: y.ticks(4, 0.0),
        // There is no half a step.
        x_ticks: x.ticks(4, 1.0),
        lines: all.into_iter().filter_map(|(name, values)| line(name, &values, &x, &y)).collect(),
        per_point,
    })
}

/// The finite values of a metric with their steps.
fn values(metric: &str, metrics: &[BTreeMap<String, f64>]) -> Vec<(f64, f64)> {
    let point = |row: &BTreeMap<String, f64>| Some((*row.get("step")?, *row.get(metric)?));
    metrics.iter().filter_map(point).filter(|(step, value)| step.is_finite() && value.is_finite()).collect()
}

fn means(values: &[(f64, f64)], per_point: usize) -> Vec<(f64, f64)> {
    let mean =
        |chunk: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| chunk.iter().map(of).sum::<f64>() / chunk.len() as f64;
    values.chunks(per_point).map(|chunk| (mean(chunk, |p| p.0), mean(chunk, |p| p.1))).collect()
}

fn line(name: &'static str, values: &[(f64, f64)], x: &Axis, y: &Axis) -> Option<Line> {
    let place = |(step, value): &(f64, f64)| [format!("{:.1}", x.place(*step)), format!("{:.1}", y.place(*value))];
    let (first, last) = (values.first()?, values.last()?);
    Some(Line {
        name,
        points: values.iter().map(|point| place(point).join(",")).collect::<Vec<_>>().join(" "),
        end: place(last),
        first: short(first.1),
        last: short(last.1),
    })
}

/// Three significant digits or so, for the legend.
fn short(value: f64) -> String {
    let size = value.abs();
    minus(match size {
        1e7.. => format!("{value:.1e}"),
        100.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.2}"),
        _ if size == 0.0 || size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    })
}

/// A tick's number, short enough for its place in front of the axis.
fn label(value: f64, decimals: usize, largest: f64) -> String {
    match largest {
        _ if value == 0.0 => "0".into(),
        0.001..1e6 => minus(format!("{value:.*}", decimals.min(6))),
        _ => minus(format!("{value:.1e}")),
    }
}

/// A number as people read it: with a minus sign rather than a hyphen.
fn minus(number: String) -> String {
    number.replace('-', "−")
}

/// Maps values to positions.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Spans the values and `margin` of their range on either side; `None` without values.
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64, margin: f64) -> Option<Axis> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        // A single value stands in the middle of an axis of its own magnitude.
        let range = if high > low { high - low } else { low.abs().max(1.0) };
        let pad = if high > low { margin * range } else { range / 2.0 };
        Some(Axis { low: low - pad, high: high + pad, from, to })
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * ((value - self.low) / (self.high - self.low))
    }

    /// About `wanted` ticks at multiples of 1, 2 or 5 times a power of ten, `least` or more apart.
    fn ticks(&self, wanted: usize, least: f64) -> Vec<Tick> {
        let rough = ((self.high - self.low) / wanted as f64).max(least);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let largest = self.low.abs().max(self.high.abs());
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        let tick = |n: i64| Tick {
            at: format!("{:.1}", self.place(n as f64 * step)),
            label: label(n as f64 * step, decimals, largest),
        };
        (first..=last).map(tick).collect()
    }
}
