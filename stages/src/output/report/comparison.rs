//! The table of a comparison, cut into blocks of columns that fit a sheet of paper.

use obvert_eval::table::{Figure, Line, Table};
use serde::Serialize;

/// Most columns of figures in a block.
const MOST: usize = 6;

#[derive(Serialize)]
pub(super) struct Comparison<'a> {
    pub(super) stage: &'a str,
    pub(super) table: &'a Table,
    scores: Vec<Block<'a>>,
    differences: Vec<Block<'a>>,
}

/// Some of a table's columns.
#[derive(Serialize)]
struct Block<'a> {
    /// What they are parts of, such as `ISR`; empty for the scores themselves.
    of: &'a str,
    columns: Vec<Column<'a>>,
    lines: Vec<Cells<'a>>,
}

#[derive(Serialize)]
struct Column<'a> {
    /// `ISR, turn 1`.
    name: &'a str,
    /// `turn 1`.
    short: &'a str,
}

#[derive(Serialize)]
struct Cells<'a> {
    method: &'a str,
    cells: Vec<Option<Cell>>,
}

#[derive(Serialize)]
struct Cell {
    mean: f64,
    error: Option<f64>,
    /// Whether a difference is marked.
    clear: bool,
}

pub(super) fn comparison<'a>(stage: &'a str, table: &'a Table) -> Comparison<'a> {
    let of = |lines| blocks(&table.columns, lines);
    Comparison { stage, table, scores: of(&table.lines), differences: of(&table.differences) }
}

fn blocks<'a>(columns: &'a [String], lines: &'a [Line]) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    let mut begin = 0;
    // Without lines there is no table.
    for alike in columns.chunk_by(|a, b| family(a) == family(b)).filter(|_| !lines.is_empty()) {
        for some in alike.chunks(even(alike.len())) {
            blocks.push(block(begin, some, lines));
            begin += some.len();
        }
    }
    blocks
}

/// `ISR, turn` of `ISR, turn 3`; nothing of `ISR`.
fn family(column: &str) -> &str {
    column.rsplit_once(' ').map_or("", |(family, _)| family)
}

/// How many columns each block of a family has, so that the last one is not much narrower than the others.
fn even(columns: usize) -> usize {
    columns.div_ceil(columns.div_ceil(MOST).max(1)).max(1)
}

fn block<'a>(begin: usize, columns: &'a [String], lines: &'a [Line]) -> Block<'a> {
    let halves = |name: &'a String| name.split_once(", ").unwrap_or(("", name));
    let cells = |line: &'a Line| {
        let figures = line.figures.iter().skip(begin).take(columns.len());
        Cells { method: &line.method, cells: figures.map(|figure| figure.map(cell)).collect() }
    };
    Block {
        of: columns.first().map_or("", |name| halves(name).0),
        columns: columns.iter().map(|name| Column { name, short: halves(name).1 }).collect(),
        lines: lines.iter().map(cells).collect(),
    }
}

fn cell(figure: Figure) -> Cell {
    Cell { mean: figure.mean, error: figure.error, clear: figure.is_clear() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_family_stand_together_and_every_figure_below_its_name() {
        let names = ["CSR", "ISR", "SSR", "mean"].map(str::to_owned).into_iter();
        let columns: Vec<String> = names
            .chain((1..=8).map(|turn| format!("ISR, turn {turn}")))
            .chain((3..=5).map(|number| format!("ISR, constraints: {number}")))
            .collect();
        let figure = |at| Some(Figure { mean: at as f64, error: None });
        let line = Line { method: "rpo".into(), models: Vec::new(), figures: (0..15).map(figure).collect() };
        let lines = [line];
        let blocks = blocks(&columns, &lines);
        let shape: Vec<(&str, usize)> = blocks.iter().map(|block| (block.of, block.columns.len())).collect();
        assert_eq!(shape, [("", 4), ("ISR", 4), ("ISR", 4), ("ISR", 3)]);
        assert_eq!((blocks[3].columns[0].name, blocks[3].columns[0].short), ("ISR, constraints: 3", "constraints: 3"));
        let means: Vec<f64> =
            blocks.iter().flat_map(|b| b.lines[0].cells.iter().map(|c| c.as_ref().unwrap().mean)).collect();
        assert_eq!(means, (0..15).map(f64::from).collect::<Vec<_>>());
    }
}
