//! What people tell the run: how to go on, and what was wrong.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use axum::Json;
use axum::extract::Path as InPath;
use axum::http::StatusCode;
use obvert_api::record::{Correction, Veto};
use obvert_stages::output::write_atomically;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::State;
use crate::asked::{Ask, ask};

/// Why it was not done.
type Refused = (StatusCode, String);

/// `POST /api/steer/{what}`
pub(super) async fn steer(state: State, InPath(what): InPath<String>) -> Result<StatusCode, Refused> {
    let what = Ask::named(&what).ok_or_else(|| (StatusCode::NOT_FOUND, format!("a run cannot be told to `{what}`")))?;
    if !state.latest.now().board.state.goes_on() {
        return Err((StatusCode::CONFLICT, "the run is over".into()));
    }
    ask(&state.site.out, what).map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/veto`: a pair is not to be used.
pub(super) async fn veto(state: State, Json(veto): Json<Veto>) -> Result<StatusCode, Refused> {
    let file = state.latest.now().board.vetoes;
    note(file, "vetoes", veto, |before, veto| before.pair == veto.pair).await
}

/// `POST /api/correct`: another verdict takes the place of the judge's.
pub(super) async fn correct(state: State, Json(correction): Json<Correction>) -> Result<StatusCode, Refused> {
    let file = state.latest.now().board.corrections;
    let same =
        |before: &Correction, now: &Correction| before.place() == now.place() && before.constraint == now.constraint;
    note(file, "corrections", correction, same).await
}

/// Notes a row in the file of a source, in the place of what was said of the same before.
async fn note<R: Serialize + DeserializeOwned + Send + 'static>(
    file: Option<PathBuf>,
    source: &str,
    row: R,
    same: fn(&R, &R) -> bool,
) -> Result<StatusCode, Refused> {
    let none = || format!("the pipeline has no source of the type `{source}` that reads a file of JSON lines");
    let file = file.ok_or_else(|| (StatusCode::CONFLICT, none()))?;
    let noted = tokio::task::spawn_blocking(move || replace(&file, &row, same)).await;
    noted.map_err(io::Error::other).flatten().map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// As a whole: the run may be reading the file. Lines that say nothing of the same stay as they are.
fn replace<R: Serialize + DeserializeOwned>(file: &Path, row: &R, same: fn(&R, &R) -> bool) -> io::Result<()> {
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        before => before?,
    };
    let stays = |line: &&str| serde_json::from_str(line).map_or(true, |before| !same(&before, row));
    let mut lines: Vec<&str> = before.lines().filter(stays).collect();
    let row = serde_json::to_string(row)?;
    lines.push(&row);
    write_atomically(file, (lines.join("\n") + "\n").as_bytes()).map_err(io::Error::other)
}

fn failed(error: io::Error) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
