//! The figures of a board as rows of text: the same in a terminal, in plain lines, wherever.

use obvert_engine::ModelCount;
use obvert_engine::model::Usage;
use obvert_stages::output::duration;
use serde::Serialize;

use crate::board::{Board, Stage, Training};
use crate::flow::{Flow, HeldUp, Pace};

/// A table: its columns and its rows. The first column is a name, the others are numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures<'a> {
    /// What the columns are.
    pub columns: Vec<&'a str>,
    /// One row per thing.
    pub rows: Vec<Vec<String>>,
}

impl Figures<'_> {
    /// As lines, the columns below each other; none where there are no rows.
    pub fn lines(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let (head, widths) = (self.columns.iter().map(|column| column.to_string()).collect(), self.widths());
        let cell = |(at, (cell, width)): (usize, (&String, &usize))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        };
        let line = |row: &Vec<String>| row.iter().zip(&widths).enumerate().map(cell).collect::<Vec<_>>().join("  ");
        std::iter::once(&head).chain(&self.rows).map(|row| line(row).trim_end().to_owned()).collect()
    }

    /// Prints the lines.
    pub fn print(&self) {
        self.lines().iter().for_each(|line| println!("{line}"));
    }

    /// Characters of each column.
    pub fn widths(&self) -> Vec<usize> {
        let width = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
        self.columns.iter().enumerate().map(|(at, column)| width(at).max(column.len())).collect()
    }
}

/// What a run does.
pub fn headline(board: &Board, flow: &Flow) -> String {
    format!("{}: {} · {}", board.name, board.state.name(), going(board, flow))
}

/// For how long it goes, and what it waits for.
pub fn going(board: &Board, flow: &Flow) -> String {
    let mut parts = vec![duration(board.elapsed_s())];
    parts.extend(board.cause.clone());
    parts.extend(flow.left_s.map(|left| format!("about {} left", duration(left))));
    parts.extend(flow.held_up.as_ref().map(held_up));
    parts.join(" · ")
}

fn held_up(by: &HeldUp) -> String {
    match by {
        HeldUp::Paused => "waits to be resumed".into(),
        HeldUp::Model(model, stage) => format!("waits for model {model}, asked by {stage}"),
        HeldUp::Stage(stage) => format!("waits for stage {stage}"),
        HeldUp::Training(stage) => format!("waits for training {stage}"),
    }
}

/// A number, where it is one that says something.
fn some(number: u64) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

fn percent(share: f64) -> String {
    if share < 0.005 { String::new() } else { format!("{:.0}%", 100.0 * share) }
}

/// What each stage does.
pub fn stages(board: &Board, flow: &Flow) -> Figures<'static> {
    let columns =
        vec!["stage", "in", "done", "waiting", "rejected", "records", "calls", "memo", "per s", "busy", "blocked"];
    let row = |(stage, pace): (&Stage, Option<&Pace>)| {
        let (count, pace) = (&stage.count, pace.copied().unwrap_or_default());
        let rate = if pace.per_s > 0.0 { format!("{:.1}", pace.per_s) } else { String::new() };
        vec![
            count.name.clone(),
            count.inputs.to_string(),
            count.done.to_string(),
            some(stage.waiting()),
            some(u64::try_from(count.rejected).unwrap_or_default()),
            count.outputs.to_string(),
            some(count.calls),
            some(count.memo_hits),
            rate,
            percent(pace.busy),
            percent(pace.blocked),
        ]
    };
    let paces = flow.stages.iter().map(Some).chain(std::iter::repeat(None));
    Figures { columns, rows: board.stages.iter().zip(paces).map(row).collect() }
}

/// What each model has to do, and has done for each stage.
pub fn models(board: &Board) -> Figures<'static> {
    let columns = vec![
        "model",
        "queued",
        "in flight",
        "for",
        "calls",
        "failed",
        "memo",
        "tokens in",
        "tokens out",
        "money",
        "time",
    ];
    Figures { columns, rows: board.models.iter().flat_map(of_model).collect() }
}

/// A row for each stage, the first with what is to do; one where no stage has asked.
fn of_model(model: &ModelCount) -> Vec<Vec<String>> {
    let row = |(at, (stage, usage)): (usize, (&str, &Usage))| {
        let now = |count: usize| if at == 0 { count.to_string() } else { String::new() };
        vec![
            model.name.clone(),
            now(model.queued),
            now(model.in_flight),
            stage.to_owned(),
            usage.calls.to_string(),
            some(usage.failures),
            some(usage.memo_hits),
            usage.prompt_tokens.to_string(),
            usage.reply_tokens.to_string(),
            money(usage.cost),
            duration(usage.time.as_secs_f64()),
        ]
    };
    let none = Usage::default();
    let unasked = model.usage.is_empty().then_some(("", &none));
    model.usage.iter().map(|(stage, usage)| (&**stage, usage)).chain(unasked).enumerate().map(row).collect()
}

/// In the unit of the model's price.
pub fn money(cost: f64) -> String {
    if cost > 0.0 { format!("{cost:.4}") } else { String::new() }
}

/// How far each training is.
pub fn trainings(board: &Board) -> Figures<'static> {
    let columns = vec!["training", "updates", "loss", "accuracy", "margin", "left over", "skipped"];
    let row = |(stage, Training { of, last, .. }): (&String, &Training)| {
        let value = |name: &str| last.get(name).map_or(String::new(), |value| format!("{value:.3}"));
        vec![
            stage.clone(),
            format!("{}/{}", of.updates, of.planned),
            value("loss"),
            value("rewards/accuracies"),
            value("rewards/margins"),
            of.unused.to_string(),
            of.skipped.pairs.to_string(),
        ]
    };
    Figures { columns, rows: board.trainings.iter().map(row).collect() }
}

/// All of it, as lines.
pub fn lines(board: &Board, flow: &Flow) -> Vec<String> {
    let tables = [stages(board, flow), models(board), trainings(board)];
    let tables = tables.iter().map(Figures::lines).filter(|lines| !lines.is_empty());
    let tables = tables.flat_map(|lines| std::iter::once(String::new()).chain(lines));
    std::iter::once(headline(board, flow)).chain(tables).collect()
}

#[cfg(test)]
mod tests {
    use obvert_engine::StageCount;

    use super::*;

    #[test]
    fn figures_stand_below_each_other() {
        let count = |name: &str, inputs| StageCount { name: name.into(), inputs, done: 2, ..StageCount::default() };
        let stages = [count("play", 12), count("respond", 2)].map(|count| Stage { count, ..Stage::default() });
        let board = Board { name: "tea".into(), began: 10.0, written: 75.0, stages: stages.into(), ..Board::default() };
        let lines = lines(&board, &Flow::between(&Board::default(), &board));
        assert_eq!(lines[0], "tea: running · 1 min 05 s");
        assert_eq!(lines[2], "stage    in  done  waiting  rejected  records  calls  memo  per s  busy  blocked");
        assert_eq!(lines[3], "play     12     2       10                  0                 0.0");
        assert_eq!(lines[4], "respond   2     2                           0                 0.0");
    }
}
