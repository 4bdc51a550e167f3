//! What stands where on the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};

use crate::board::Board;
use crate::figures::{Figures, headline, models, stages, trainings};
use crate::flow::Flow;

const KEYS: &str = "q quit · p pause or resume · D drain";

/// Draws one board.
pub(super) fn draw(frame: &mut Frame, board: &Board, flow: &Flow) {
    let tables: Vec<Figures> =
        [stages(board, flow), models(board), trainings(board)].into_iter().filter(|t| !t.rows.is_empty()).collect();
    // A table has a line for its columns and one below it; the stages take what is left.
    let height = |table: &Figures| Constraint::Length(table.rows.len() as u16 + 2);
    let rest = tables.iter().skip(1).map(height);
    let parts = [Constraint::Length(2), Constraint::Min(4)].into_iter().chain(rest).chain([Constraint::Length(1)]);
    let areas = Layout::vertical(parts).split(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(headline(board, flow)).style(bold).wrap(Wrap { trim: true }), areas[0]);
    for (table, area) in tables.iter().zip(areas.iter().skip(1)) {
        frame.render_widget(widget(table), *area);
    }
    if let Some(last) = areas.last() {
        frame.render_widget(Line::from(KEYS).style(Style::new().add_modifier(Modifier::DIM)), *last);
    }
}

fn widget<'t>(figures: &'t Figures) -> Table<'t> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let cell = |(at, text): (usize, String)| {
        let line = Line::from(text);
        Cell::from(if at == 0 { line } else { line.right_aligned() })
    };
    let row = |cells: Vec<String>| Row::new(cells.into_iter().enumerate().map(cell));
    let head = row(figures.columns.iter().map(|column| column.to_string()).collect()).style(bold);
    let widths = figures.widths().into_iter().map(|width| Constraint::Length(width as u16));
    Table::new(figures.rows.iter().cloned().map(row), widths).header(head).column_spacing(2)
}

#[cfg(test)]
mod tests {
    use obvert_engine::{ModelCount, StageCount};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::board::Stage;

    #[test]
    fn all_of_a_board_is_on_the_screen() {
        let count = StageCount { name: "respond".into(), inputs: 12, done: 2, ..StageCount::default() };
        let model = ModelCount { name: "policy".into(), queued: 7, ..ModelCount::default() };
        let stages = vec![Stage { count, ..Stage::default() }];
        let board = Board { name: "tea".into(), stages, models: vec![model], ..Board::default() };
        let mut terminal = Terminal::new(TestBackend::new(100, 16)).unwrap();
        terminal.draw(|frame| draw(frame, &board, &Flow::between(&Board::default(), &board))).unwrap();
        let shown = terminal.backend().to_string();
        let at = |wanted: &str| shown.lines().position(|line| line.contains(wanted)).expect(&shown);
        assert_eq!([at("tea: running"), at("stage    in"), at("respond  12     2       10")], [0, 2, 3]);
        assert!(at("model   queued") < at("policy       7") && at("q quit") == 15, "{shown}");
    }
}
