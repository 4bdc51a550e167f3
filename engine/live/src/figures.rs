//! The figures of a board as rows of text: the same in a terminal, in plain lines, wherever.

use std::time::Duration;

use crate::board::{Board, Stage, State, Training};
use crate::flow::{Flow, HeldUp, Pace};

/// A table: its columns and its rows. The first column is a name, the others are numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// What the columns are.
    pub columns: Vec<&'static str>,
    /// One row per thing.
    pub rows: Vec<Vec<String>>,
}

impl Figures {
    /// As lines, the columns below each other.
    pub fn lines(&self) -> Vec<String> {
        let cells = |row: &[String]| row.to_vec();
        let head: Vec<String> = self.columns.iter().map(|column| column.to_string()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(self.rows.iter().map(|row| cells(row))).collect();
        let widths = self.widths();
        let line = |row: &Vec<String>| {
            let cell = |(at, (cell, width)): (usize, (&String, &usize))| match at {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            };
            row.iter().zip(&widths).enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }

    /// Characters of each column.
    pub fn widths(&self) -> Vec<usize> {
        let width = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
        self.columns.iter().enumerate().map(|(at, column)| width(at).max(column.len())).collect()
    }
}

/// What a run does, for how long, what it waits for.
pub fn headline(board: &Board, flow: &Flow) -> String {
    let state = match board.state {
        State::Running => "running",
        State::Paused => "paused",
        State::Draining => "draining",
        State::Done => "done",
        State::Drained => "drained",
        State::Interrupted => "interrupted",
        State::Failed => "failed",
        State::Lost => "lost: it has not been heard of since",
    };
    let mut parts = vec![format!("{}: {state}", board.name), duration(board.elapsed_s())];
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

/// As people read it.
pub fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |duration| duration.as_secs());
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

/// What each stage does.
pub fn stages(board: &Board, flow: &Flow) -> Figures {
    let columns =
        vec!["stage", "in", "done", "waiting", "rejected", "records", "calls", "memo", "per s", "busy", "blocked"];
    let row = |(stage, pace): (&Stage, Option<&Pace>)| {
        let (count, pace) = (&stage.count, pace.copied().unwrap_or_default());
        let percent = |share: f64| if share < 0.005 { String::new() } else { format!("{:.0}%", 100.0 * share) };
        let some = |number: u64| if number == 0 { String::new() } else { number.to_string() };
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

/// What each model has to do and has done.
pub fn models(board: &Board) -> Figures {
    let columns = vec!["model", "queued", "in flight", "calls", "failed", "memo", "tokens in", "tokens out", "money"];
    let row = |model: &obvert_engine::ModelCount| {
        let sum = |of: fn(&obvert_engine::model::Usage) -> u64| model.usage.values().map(of).sum::<u64>().to_string();
        let money: f64 = model.usage.values().map(|usage| usage.cost).sum();
        vec![
            model.name.clone(),
            model.queued.to_string(),
            model.in_flight.to_string(),
            sum(|usage| usage.calls),
            sum(|usage| usage.failures),
            sum(|usage| usage.memo_hits),
            sum(|usage| usage.prompt_tokens),
            sum(|usage| usage.reply_tokens),
            if money > 0.0 { format!("{money:.4}") } else { String::new() },
        ]
    };
    Figures { columns, rows: board.models.iter().map(row).collect() }
}

/// How far each training is.
pub fn trainings(board: &Board) -> Figures {
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
    let tables = tables.iter().filter(|table| !table.rows.is_empty()).flat_map(|table| {
        let blank = [String::new()];
        blank.into_iter().chain(table.lines())
    });
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
