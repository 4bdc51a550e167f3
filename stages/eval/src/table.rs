//! The table of a comparison: methods against scores, over several runs that differ in their seed.
//!
//! An error is the standard error of the mean: the sample's standard deviation over the square root of the number of runs. Differences
//! are taken run by run: what the draws of a run do to both methods falls out of them.

use serde::{Deserialize, Serialize};

use crate::adherence::{Part, Scores};

/// The scores of one model of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The model with the version of its adapter, or `base`.
    pub model: String,
    /// What it was made by: the same in every run.
    pub method: String,
    /// How it did.
    #[serde(flatten)]
    pub scores: Scores,
}

/// A figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The mean over runs.
    pub mean: f64,
    /// Its standard error; none of a single run.
    pub error: Option<f64>,
}

/// A mean is clear of nothing if it is farther from it than so many standard errors.
const CLEAR: f64 = 2.0;

impl Figure {
    /// Whether the mean is farther from nothing than two standard errors. Of one run none is.
    pub fn is_clear(&self) -> bool {
        self.error.is_some_and(|error| self.mean.abs() > CLEAR * error)
    }
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The method.
    pub method: String,
    /// The models that it made, run by run.
    pub models: Vec<String>,
    /// One for each column; none where no run has such a figure.
    pub figures: Vec<Option<Figure>>,
}

/// Methods against scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Runs.
    pub runs: usize,
    /// What stands in each column.
    pub columns: Vec<String>,
    /// One line for each method, in the order of the runs' rows.
    pub lines: Vec<Line>,
    /// The method that the others are held against.
    pub against: String,
    /// That method's figures less those of each other one, in the runs that have both.
    pub differences: Vec<Line>,
}

/// The table of runs, each with one row for every method.
pub fn table(runs: &[Vec<Row>], against: &str) -> Table {
    let mut methods: Vec<&str> = Vec::new();
    for row in runs.iter().flatten().filter(|row| !row.method.is_empty()) {
        if !methods.contains(&row.method.as_str()) {
            methods.push(&row.method);
        }
    }
    let columns = columns(runs);
    let line = |method: &str, figures: &dyn Fn(&[Row], &str) -> Option<f64>| Line {
        method: method.to_owned(),
        models: runs.iter().filter_map(|run| of(run, method)).map(|row| row.model.clone()).collect(),
        figures: columns.iter().map(|column| figure(runs.iter().filter_map(|run| figures(run, column)))).collect(),
    };
    let lines = methods.iter().map(|method| line(method, &|run, column| value(of(run, method)?, column))).collect();
    let others = methods.iter().filter(|method| **method != against && methods.contains(&against));
    let less = |method: &str, run: &[Row], column: &str| {
        Some(value(of(run, against)?, column)? - value(of(run, method)?, column)?)
    };
    let differences = others.map(|method| line(method, &|run, column| less(method, run, column))).collect();
    Table { runs: runs.len(), lines, against: against.to_owned(), differences, columns }
}

/// The method's row of a run.
fn of<'r>(run: &'r [Row], method: &str) -> Option<&'r Row> {
    run.iter().find(|row| row.method == method)
}

const MEAN: &str = "mean";
const TURN: &str = "ISR, turn ";
const NUMBER: &str = "ISR, constraints: ";

/// The scores as a whole, turn by turn, and by the number of constraints, as far as any row has them.
fn columns(runs: &[Vec<Row>]) -> Vec<String> {
    let rows = || runs.iter().flatten();
    let named = |name: &str, parts: fn(&Scores) -> &[Part]| -> Vec<String> {
        let mut known: Vec<&Part> = rows().flat_map(|row| parts(&row.scores)).collect();
        known.sort_by_key(|part| part.of.parse::<u64>().unwrap_or_default());
        known.dedup_by_key(|part| &part.of);
        known.into_iter().map(|part| format!("{name}{}", part.of)).collect()
    };
    let whole = ["CSR", "ISR", "SSR", MEAN].map(str::to_owned).into_iter();
    whole.chain(named(TURN, |scores| &scores.by_turn)).chain(named(NUMBER, |scores| &scores.by_number)).collect()
}

fn value(row: &Row, column: &str) -> Option<f64> {
    let Scores { csr, isr, ssr, by_turn, by_number, .. } = &row.scores;
    let part = |parts: &[Part], of: &str| parts.iter().find(|part| part.of == of).map(|part| part.isr);
    match column {
        "CSR" => Some(*csr),
        "ISR" => Some(*isr),
        "SSR" => Some(*ssr),
        MEAN => Some(mean_of_three(&row.scores)),
        _ => match (column.strip_prefix(TURN), column.strip_prefix(NUMBER)) {
            (Some(turn), _) => part(by_turn, turn),
            (_, Some(number)) => part(by_number, number),
            _ => None,
        },
    }
}

/// The mean of CSR, ISR and SSR: the figure of the paper's table.
pub fn mean_of_three(scores: &Scores) -> f64 {
    (scores.csr + scores.isr + scores.ssr) / 3.0
}

fn figure(values: impl Iterator<Item = f64>) -> Option<Figure> {
    let values: Vec<f64> = values.collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt());
    (!values.is_empty()).then_some(Figure { mean, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, csr: f64, isr: f64) -> Row {
        let by_number = vec![Part { of: "4".into(), isr: isr / 2.0, ..Part::default() }];
        let scores = Scores { csr, isr, ssr: 0.0, by_number, ..Scores::default() };
        Row { model: format!("{method}-0123"), method: method.into(), scores }
    }

    #[test]
    fn means_and_errors_are_those_of_the_runs() {
        let runs = [
            vec![row("dpo", 0.5, 0.1), row("rpo", 0.8, 0.4)],
            vec![row("dpo", 0.6, 0.3), row("rpo", 0.9, 0.7)],
            vec![row("dpo", 0.7, 0.2)],
        ];
        let table = table(&runs, "rpo");
        assert_eq!(table.columns, ["CSR", "ISR", "SSR", "mean", "ISR, constraints: 4"]);
        let close = |figure: Option<Figure>, mean: f64, error: f64| {
            let figure = figure.unwrap();
            assert!((figure.mean - mean).abs() < 1e-12 && (figure.error.unwrap() - error).abs() < 1e-12, "{figure:?}");
        };
        close(table.lines[0].figures[0], 0.6, 0.1 / 3_f64.sqrt());
        close(table.lines[1].figures[4], 0.275, 0.075);
        // Of the two runs that have both: .3 and .3; .3 and .4.
        close(table.differences[0].figures[0], 0.3, 0.0);
        close(table.differences[0].figures[1], 0.35, 0.05);
        assert_eq!((table.differences.len(), table.lines[1].models.len()), (1, 2));
    }

    #[test]
    fn clear_is_what_two_errors_do_not_reach() {
        let clear = |mean, error| Figure { mean, error }.is_clear();
        assert!(clear(0.05, Some(0.02)) && clear(-0.05, Some(0.02)));
        assert!(!clear(0.04, Some(0.02)) && !clear(0.5, None) && !clear(0.0, Some(0.0)));
    }

    #[test]
    fn a_single_run_has_no_error_and_a_stranger_no_differences() {
        let table = table(&[vec![row("dpo", 0.5, 0.1)]], "rpo");
        assert_eq!(table.lines[0].figures[0], Some(Figure { mean: 0.5, error: None }));
        assert!(table.differences.is_empty());
    }
}
