//! `top`: the figures of a run in a terminal, as they change.

mod screen;

use std::io;
use std::path::Path;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind};

use crate::asked::{Ask, ask};
use crate::board::{Board, State};
use crate::flow::Flow;

/// Between two boards.
const EVERY: Duration = Duration::from_millis(500);

/// Shows the run in a folder until the key `q`.
///
/// # Errors
/// No run has been there; the terminal cannot be used.
pub fn top(out: &Path) -> io::Result<()> {
    let mut earlier = Board::read(out)?;
    let mut terminal = ratatui::try_init()?;
    let shown = loop {
        let board = match Board::read(out) {
            Ok(board) => board,
            Err(error) => break Err(error),
        };
        // Until a second one is there the rates are those since the beginning.
        let since = if earlier.written < board.written { &earlier } else { &Board::default() };
        let flow = Flow::between(since, &board);
        if let Err(error) = terminal.draw(|frame| screen::draw(frame, &board, &flow)) {
            break Err(error);
        }
        earlier = board;
        match keys(out, &earlier) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    shown
}

/// Does what is typed until the next board is due; whether to go on.
fn keys(out: &Path, board: &Board) -> io::Result<bool> {
    if !event::poll(EVERY)? {
        return Ok(true);
    }
    let Event::Key(key) = event::read()? else { return Ok(true) };
    if key.kind != KeyEventKind::Press {
        return Ok(true);
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Ok(false),
        KeyCode::Char('p') if board.state == State::Paused => ask(out, Ask::Resume)?,
        KeyCode::Char('p') if board.state == State::Running => ask(out, Ask::Pause)?,
        KeyCode::Char('D') if board.state.goes_on() => ask(out, Ask::Drain)?,
        _ => {}
    }
    Ok(true)
}
