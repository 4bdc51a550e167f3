//! The models that one stage examined: as a whole, and in parts before and after.

use obvert_eval::adherence::{Part, Scores};
use obvert_eval::table::{Row, mean_of_three};
use serde::Serialize;

/// Most models beside the first one in a table: what fits a sheet of paper.
const MOST: usize = 4;

#[derive(Serialize)]
pub(super) struct Scored<'a> {
    pub(super) stage: &'a str,
    models: Vec<Model<'a>>,
    parts: Vec<Parts<'a>>,
}

/// A model as a whole.
#[derive(Serialize)]
struct Model<'a> {
    label: String,
    /// Its name, where the label is not it.
    version: Option<&'a str>,
    row: &'a Row,
    mean: f64,
}

/// Parts of the scores against models: the first one, and some of the others with what they have more.
#[derive(Serialize)]
struct Parts<'a> {
    caption: &'static str,
    /// What a line is of.
    head: &'static str,
    /// What is counted in it.
    counted: &'static str,
    models: Vec<String>,
    lines: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    of: &'a str,
    count: u64,
    /// One for each model; none where it has no such part.
    cells: Vec<Option<Cell>>,
}

#[derive(Serialize)]
struct Cell {
    share: f64,
    more: Option<f64>,
}

/// How a part is shown.
struct Kind {
    caption: &'static str,
    head: &'static str,
    counted: &'static str,
    parts: fn(&Scores) -> &[Part],
    share: fn(&Part) -> f64,
    count: fn(&Part) -> u64,
}

const KINDS: [Kind; 3] = [
    Kind {
        caption: "Satisfied constraints by type",
        head: "Type",
        counted: "Constraints",
        parts: |scores| &scores.by_type,
        share: |part| part.csr,
        count: |part| part.constraints,
    },
    Kind {
        caption: "Turns with every constraint satisfied, by turn",
        head: "Turn",
        counted: "Turns",
        parts: |scores| &scores.by_turn,
        share: |part| part.isr,
        count: |part| part.turns,
    },
    Kind {
        caption: "Turns with every constraint satisfied, by number of constraints",
        head: "Constraints",
        counted: "Turns",
        parts: |scores| &scores.by_number,
        share: |part| part.isr,
        count: |part| part.turns,
    },
];

pub(super) fn scored<'a>(stage: &'a str, rows: &'a [Row]) -> Scored<'a> {
    let model = |row: &'a Row| Model {
        label: label(row, rows),
        version: (row.method != row.model && !row.method.is_empty()).then_some(row.model.as_str()),
        row,
        mean: mean_of_three(&row.scores),
    };
    let parts = KINDS.iter().flat_map(|kind| all(kind, rows)).collect();
    Scored { stage, models: rows.iter().map(model).collect(), parts }
}

/// The method, where one is named and has made one model only.
fn label(row: &Row, rows: &[Row]) -> String {
    match rows.iter().filter(|other| other.method == row.method).count() {
        _ if row.method.is_empty() => row.model.clone(),
        1 => row.method.clone(),
        _ => format!("{} ({})", row.method, row.model),
    }
}

/// A kind of parts in as many tables as it takes.
fn all<'a>(kind: &Kind, rows: &'a [Row]) -> Vec<Parts<'a>> {
    let Some((first, others)) = rows.split_first() else { return Vec::new() };
    let named = named(kind, rows);
    let chunks: Vec<&[Row]> = if others.is_empty() { vec![others] } else { others.chunks(MOST).collect() };
    let table = |some: &&'a [Row]| Parts {
        caption: kind.caption,
        head: kind.head,
        counted: kind.counted,
        models: std::iter::once(first).chain(*some).map(|row| dated(row, rows)).collect(),
        lines: named.iter().map(|of| line(kind, of, first, some)).collect(),
    };
    chunks.iter().filter(|_| !named.is_empty()).map(table).collect()
}

/// The label, with when it was where the first model is what the others were trained from.
fn dated(row: &Row, rows: &[Row]) -> String {
    let label = label(row, rows);
    match rows {
        [base, _, ..] if base.method == "base" => {
            format!("{label}, {}", if std::ptr::eq(base, row) { "before" } else { "after" })
        }
        _ => label,
    }
}

/// All parts that any model has, numbers in their order.
fn named<'a>(kind: &Kind, rows: &'a [Row]) -> Vec<&'a str> {
    let mut names: Vec<&str> =
        rows.iter().flat_map(|row| (kind.parts)(&row.scores)).map(|part| part.of.as_str()).collect();
    names.sort_by_key(|name| (name.parse::<u64>().unwrap_or_default(), *name));
    names.dedup();
    names
}

fn line<'a>(kind: &Kind, of: &'a str, first: &'a Row, others: &'a [Row]) -> Line<'a> {
    let part = |row: &'a Row| (kind.parts)(&row.scores).iter().find(|part| part.of == of);
    let before = part(first).map(kind.share);
    let cell = |row| {
        let share = part(row).map(kind.share)?;
        Some(Cell { share, more: before.map(|before| share - before) })
    };
    let counted = std::iter::once(first).chain(others).find_map(part);
    Line {
        of,
        count: counted.map_or(0, kind.count),
        cells: std::iter::once(before.map(|share| Cell { share, more: None })).chain(others.iter().map(cell)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, model: &str, types: &[(&str, f64)]) -> Row {
        let part = |(of, csr): &(&str, f64)| Part { of: of.to_string(), csr: *csr, constraints: 9, ..Part::default() };
        let scores = Scores { by_type: types.iter().map(part).collect(), ..Scores::default() };
        Row { model: model.into(), method: method.into(), scores }
    }

    #[test]
    fn each_model_stands_beside_the_first_one_and_what_it_lacks_is_seen() {
        let mut rows = vec![row("base", "base", &[("a", 0.5), ("b", 0.25)])];
        rows.extend((0..5).map(|n| row("dpo", &format!("dpo-{n}"), &[("a", 0.75), ("c", 1.0)])));
        rows.push(row("", "other", &[]));
        let scored = scored("scores", &rows);
        let heads: Vec<&[String]> = scored.parts.iter().map(|parts| parts.models.as_slice()).collect();
        assert_eq!(heads[0].len(), 5);
        assert_eq!(heads[1], ["base, before", "dpo (dpo-4), after", "other, after"]);
        let cells = |line: &Line| line.cells.iter().map(|c| c.as_ref().map(|c| (c.share, c.more))).collect::<Vec<_>>();
        let lines = &scored.parts[1].lines;
        assert_eq!(lines.iter().map(|line| line.of).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(cells(&lines[0]), [Some((0.5, None)), Some((0.75, Some(0.25))), None]);
        assert_eq!(cells(&lines[2]), [None, Some((1.0, None)), None]);
        assert!(lines.iter().all(|line| line.count == 9));
    }

    #[test]
    fn a_model_by_itself_has_no_before() {
        let rows = [row("base", "base", &[("a", 0.5)])];
        let scored = scored("scores", &rows);
        assert_eq!((scored.parts.len(), scored.parts[0].models[0].as_str()), (1, "base"));
    }
}
