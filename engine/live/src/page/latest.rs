//! The newest board and what it says beside the one before, read once for all viewers.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Serialize;
use tokio::sync::watch;

use super::State;
use crate::board::Board;
use crate::figures::{Figures, going, models, stages};
use crate::flow::{Flow, HeldUp, Pace};

/// Between two looks at the folder.
const EVERY: Duration = Duration::from_millis(500);

/// A board, and what is to be said of it.
#[derive(Clone, Default, Serialize)]
pub(super) struct Seen {
    /// Why there is no board.
    missing: Option<String>,
    pub(super) board: Board,
    /// For how long it goes, and what it waits for.
    going: String,
    /// The stage at which the rest is held up.
    held: Option<String>,
    /// How fast each stage is.
    paces: Vec<Pace>,
    stages: Figures<'static>,
    models: Figures<'static>,
    #[serde(skip)]
    flow: Flow,
}

impl Seen {
    fn of(board: Board, flow: Flow) -> Self {
        Seen {
            missing: None,
            going: going(&board, &flow),
            held: flow.held_up.as_ref().and_then(HeldUp::stage).map(str::to_owned),
            paces: flow.stages.clone(),
            stages: stages(&board, &flow),
            models: models(&board),
            board,
            flow,
        }
    }
}

/// Follows the board of a folder.
pub(super) struct Latest(watch::Receiver<(Seen, String)>);

impl Latest {
    /// Begins to look.
    pub(super) fn follow(out: PathBuf) -> Self {
        let first = look(&out, &Seen::default());
        let (send, latest) = watch::channel((first.clone(), text(&first)));
        tokio::spawn(async move {
            let mut before = first;
            while !send.is_closed() {
                tokio::time::sleep(EVERY).await;
                let seen = look(&out, &before);
                let text = text(&seen);
                send.send_if_modified(|(shown, last)| {
                    let news = *last != text;
                    (*shown, *last) = (seen.clone(), text);
                    news
                });
                before = seen;
            }
        });
        Latest(latest)
    }

    /// The newest.
    pub(super) fn now(&self) -> Seen {
        self.0.borrow().0.clone()
    }
}

fn look(out: &Path, before: &Seen) -> Seen {
    match Board::read(out) {
        // The run has not written a new one.
        Ok(board) if board.written == before.board.written => Seen::of(board, before.flow.clone()),
        Ok(board) => {
            let since = if before.board.began == board.began { &before.board } else { &Board::default() };
            let flow = Flow::between(since, &board);
            Seen::of(board, flow)
        }
        Err(error) => Seen { missing: Some(error.to_string()), ..Seen::default() },
    }
}

fn text(seen: &Seen) -> String {
    serde_json::to_string(seen).unwrap_or_default()
}

/// `GET /api/board`
pub(super) async fn board(state: State) -> impl IntoResponse {
    Json(state.latest.now())
}

/// `GET /api/events`: every board that differs from the one before.
pub(super) async fn events(state: State) -> impl IntoResponse {
    let mut latest = state.latest.0.clone();
    latest.mark_changed();
    let next = futures_util::stream::unfold(latest, |mut latest| async {
        latest.changed().await.ok()?;
        let event = Event::default().data(latest.borrow_and_update().1.clone());
        Some((Ok::<_, Infallible>(event), latest))
    });
    Sse::new(next).keep_alive(KeepAlive::default())
}
