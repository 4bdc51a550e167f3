//! A layered layout: columns by the longest way from a source, rows ordered and placed by the mean of their neighbours
//! (the method of Sugiyama, Tagawa and Toda, 1981, IEEE Trans. SMC 11(2)).

use super::Edge;

/// Where stages and the bends of long edges lie.
pub(super) struct Layout {
    /// The column of each item: the stages first, then the bends.
    pub columns: Vec<usize>,
    /// The middle of each item, downwards from 0, in pixels.
    pub ys: Vec<f64>,
    /// For each edge the items that it passes, source and target included; back edges have just these two.
    pub routes: Vec<Vec<usize>>,
}

/// Distance of the middles of neighbours in a column, in pixels: of two stages, and where one is a bend.
const STAGE_GAP: f64 = 72.0;
const BEND_GAP: f64 = 44.0;
const SWEEPS: usize = 12;

pub(super) fn layout(stages: usize, edges: &[Edge]) -> Layout {
    let mut columns = stage_columns(stages, edges);
    let routes: Vec<Vec<usize>> = edges.iter().map(|edge| route(edge, &mut columns)).collect();
    let mut rows = Rows::new(stages, &columns, &routes, edges);
    for sweep in 0..SWEEPS {
        rows.order(sweep % 2 == 0);
    }
    for sweep in 0..SWEEPS {
        rows.place(sweep % 2 == 0);
    }
    Layout { ys: rows.into_ys(), columns, routes }
}

/// The column of each stage: one behind the last that it reads; sources directly before their first reader.
fn stage_columns(stages: usize, edges: &[Edge]) -> Vec<usize> {
    let forward: Vec<&Edge> = edges.iter().filter(|edge| !edge.back).collect();
    let mut columns = vec![0_usize; stages];
    for _ in 0..stages {
        for edge in &forward {
            columns[edge.target] = columns[edge.target].max(columns[edge.source] + 1);
        }
    }
    let is_source = |stage: usize| forward.iter().all(|edge| edge.target != stage);
    for stage in (0..stages).filter(|stage| is_source(*stage)) {
        let readers = forward.iter().filter(|edge| edge.source == stage).map(|edge| columns[edge.target]);
        columns[stage] = readers.min().unwrap_or(1).saturating_sub(1);
    }
    columns
}

/// The items of an edge; adds a bend in each column that it crosses.
fn route(edge: &Edge, columns: &mut Vec<usize>) -> Vec<usize> {
    let mut route = vec![edge.source];
    if !edge.back {
        for column in columns[edge.source] + 1..columns[edge.target] {
            route.push(columns.len());
            columns.push(column);
        }
    }
    route.push(edge.target);
    route
}

/// The items of each column from top to bottom, and their heights.
struct Rows {
    stages: usize,
    columns: Vec<Vec<usize>>,
    /// The neighbours of each item in the column before and behind.
    before: Vec<Vec<usize>>,
    behind: Vec<Vec<usize>>,
    ys: Vec<f64>,
}

impl Rows {
    fn new(stages: usize, columns: &[usize], routes: &[Vec<usize>], edges: &[Edge]) -> Self {
        let width = columns.iter().max().map_or(0, |last| last + 1);
        let empty = || vec![Vec::new(); columns.len()];
        let mut rows =
            Self { stages, columns: vec![Vec::new(); width], before: empty(), behind: empty(), ys: Vec::new() };
        for (item, column) in columns.iter().enumerate() {
            rows.columns[*column].push(item);
        }
        for (route, _) in routes.iter().zip(edges).filter(|(_, edge)| !edge.back) {
            for pair in route.windows(2) {
                rows.behind[pair[0]].push(pair[1]);
                rows.before[pair[1]].push(pair[0]);
            }
        }
        rows.ys = vec![0.0; columns.len()];
        rows.columns.clone().iter().for_each(|column| rows.stack(column));
        rows
    }

    fn gap(&self, a: usize, b: usize) -> f64 {
        if a < self.stages && b < self.stages { STAGE_GAP } else { BEND_GAP }
    }

    /// Puts a column's items under each other from 0.
    fn stack(&mut self, column: &[usize]) {
        let mut y = 0.0;
        for (row, item) in column.iter().enumerate() {
            y += if row == 0 { 0.0 } else { self.gap(column[row - 1], *item) };
            self.ys[*item] = y;
        }
    }

    /// The mean height of an item's neighbours on one side; its own without neighbours.
    fn wish(&self, item: usize, rightwards: bool) -> f64 {
        let neighbours = if rightwards { &self.before[item] } else { &self.behind[item] };
        if neighbours.is_empty() {
            return self.ys[item];
        }
        neighbours.iter().map(|other| self.ys[*other]).sum::<f64>() / neighbours.len() as f64
    }

    fn indices(&self, rightwards: bool) -> Vec<usize> {
        let indices = 0..self.columns.len();
        if rightwards { indices.collect() } else { indices.rev().collect() }
    }

    /// Sorts each column by its items' wishes.
    fn order(&mut self, rightwards: bool) {
        for index in self.indices(rightwards) {
            let mut column = std::mem::take(&mut self.columns[index]);
            column.sort_by(|a, b| self.wish(*a, rightwards).total_cmp(&self.wish(*b, rightwards)));
            self.stack(&column);
            self.columns[index] = column;
        }
    }

    /// Moves each column's items to their wishes, as far as order and gaps allow.
    fn place(&mut self, rightwards: bool) {
        for index in self.indices(rightwards) {
            let column = self.columns[index].clone();
            let wishes: Vec<f64> = column.iter().map(|item| self.wish(*item, rightwards)).collect();
            let mut lowest = f64::NEG_INFINITY;
            for (row, (item, wish)) in column.iter().zip(&wishes).enumerate() {
                let gap = if row == 0 { 0.0 } else { self.gap(column[row - 1], *item) };
                lowest = wish.max(lowest + gap);
                self.ys[*item] = lowest;
            }
            // What was pushed down moves up again by the mean of the push.
            let pushed: f64 = column.iter().zip(&wishes).map(|(item, wish)| self.ys[*item] - wish).sum();
            let shift = pushed / column.len().max(1) as f64;
            column.iter().for_each(|item| self.ys[*item] -= shift);
        }
    }

    fn into_ys(self) -> Vec<f64> {
        let top = self.ys.iter().copied().fold(f64::INFINITY, f64::min);
        self.ys.iter().map(|y| y - top).collect()
    }
}
