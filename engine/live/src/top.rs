//! `top`: the figures of a run in a terminal, as they change.

mod screen;

use std::io;
use std::path::Path;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

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
    let mut seen = (Board::read(out)?, Flow::default());
    let mut terminal = ratatui::try_init()?;
    let shown = loop {
        match frame(&mut terminal, out, &mut seen) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    shown
}

/// Shows the newest board and waits for the next one; whether to go on.
fn frame(terminal: &mut DefaultTerminal, out: &Path, (before, flow): &mut (Board, Flow)) -> io::Result<bool> {
    let board = Board::read(out)?;
    if board.written != before.written {
        *flow = Flow::between(before, &board);
    } else if flow.stages.is_empty() {
        // Until a second one is there the rates are those since the beginning.
        *flow = Flow::between(&Board::default(), &board);
    }
    terminal.draw(|frame| screen::draw(frame, &board, flow))?;
    *before = board;
    keys(out, before)
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
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return Ok(key.code != KeyCode::Char('c'));
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
