//! What people tell the run: how to go on, and what was wrong.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use axum::Json;
use axum::extract::Path as InPath;
use axum::http::StatusCode;
use obvert_api::record::{Correction, Veto};
use serde::Serialize;

use super::State;
use crate::asked::{Ask, ask};

/// Why it was not done.
type Refused = (StatusCode, String);

/// `POST /api/steer/{what}`
pub(super) async fn steer(state: State, InPath(what): InPath<String>) -> Result<StatusCode, Refused> {
    let known = Ask::ALL.into_iter().find(|ask| ask.name() == what);
    let what = known.ok_or_else(|| (StatusCode::NOT_FOUND, format!("a run cannot be told to `{what}`")))?;
    if !state.latest.now().board.state.goes_on() {
        return Err((StatusCode::CONFLICT, "the run is over".into()));
    }
    ask(&state.site.out, what).map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/veto`: a pair is not to be used.
pub(super) async fn veto(state: State, Json(veto): Json<Veto>) -> Result<StatusCode, Refused> {
    let seen = state.latest.now();
    add(seen.board.vetoes.as_deref(), "vetoes", &veto)
}

/// `POST /api/correct`: another verdict takes the place of the judge's.
pub(super) async fn correct(state: State, Json(correction): Json<Correction>) -> Result<StatusCode, Refused> {
    let seen = state.latest.now();
    add(seen.board.corrections.as_deref(), "corrections", &correction)
}

/// Adds a row to the file of a source.
fn add(file: Option<&Path>, source: &str, row: &impl Serialize) -> Result<StatusCode, Refused> {
    let none = || {
        (
            StatusCode::CONFLICT,
            format!("the pipeline has no source of the type `{source}` that reads a file of JSON lines"),
        )
    };
    let file = file.ok_or_else(none)?;
    append(file, row).map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// In one write, on a line of its own.
fn append(file: &Path, row: &impl Serialize) -> io::Result<()> {
    let before = std::fs::read(file).unwrap_or_default();
    let open = !before.is_empty() && !before.ends_with(b"\n");
    let line = format!("{}{}\n", if open { "\n" } else { "" }, serde_json::to_string(row)?);
    OpenOptions::new().append(true).create(true).open(file)?.write_all(line.as_bytes())
}

fn failed(error: io::Error) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
