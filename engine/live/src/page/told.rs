//! What people tell the run: how to go on, and what was wrong.

use std::fs::{self, File};
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

/// `GET /api/veto`: what was vetoed by hand.
pub(super) async fn vetoes(state: State) -> Json<Vec<Veto>> {
    Json(noted(state.latest.now().board.vetoes).await)
}

/// `POST /api/veto`: a pair is not to be used.
pub(super) async fn veto(state: State, Json(veto): Json<Veto>) -> Result<StatusCode, Refused> {
    note(state.latest.now().board.vetoes, veto, true).await
}

/// `DELETE /api/veto`: it may be used after all.
pub(super) async fn unveto(state: State, Json(veto): Json<Veto>) -> Result<StatusCode, Refused> {
    note(state.latest.now().board.vetoes, veto, false).await
}

/// `GET /api/correct`: verdicts that were overruled by hand.
pub(super) async fn corrections(state: State) -> Json<Vec<Correction>> {
    Json(noted(state.latest.now().board.corrections).await)
}

/// `POST /api/correct`: another verdict takes the place of the judge's.
pub(super) async fn correct(state: State, Json(correction): Json<Correction>) -> Result<StatusCode, Refused> {
    note(state.latest.now().board.corrections, correction, true).await
}

/// `DELETE /api/correct`: the judge's verdict stands after all.
pub(super) async fn uncorrect(state: State, Json(correction): Json<Correction>) -> Result<StatusCode, Refused> {
    note(state.latest.now().board.corrections, correction, false).await
}

/// What people say of something: the last word counts.
trait Said: Serialize + DeserializeOwned + Send + 'static {
    /// The source that reads it.
    const SOURCE: &'static str;
    /// Whether both are about the same.
    fn same(&self, other: &Self) -> bool;
}

impl Said for Veto {
    const SOURCE: &'static str = "vetoes";

    fn same(&self, other: &Self) -> bool {
        self.pair == other.pair
    }
}

impl Said for Correction {
    const SOURCE: &'static str = "corrections";

    fn same(&self, other: &Self) -> bool {
        let text = self.response.is_none() || other.response.is_none() || self.response == other.response;
        self.place() == other.place() && self.constraint == other.constraint && text
    }
}

/// What stands in a file; lines that say something else are not looked at.
async fn noted<R: Said>(file: Option<PathBuf>) -> Vec<R> {
    let read = || file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let text = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Takes what was said of the same out of the file of a source, and puts the row in its place if that is to stand.
async fn note<R: Said>(file: Option<PathBuf>, row: R, stands: bool) -> Result<StatusCode, Refused> {
    let none = || format!("the pipeline has no source of the type `{}` that reads a file of JSON lines", R::SOURCE);
    let file = file.ok_or_else(|| (StatusCode::CONFLICT, none()))?;
    let noted = tokio::task::spawn_blocking(move || replace_alone(&file, &row, stands));
    noted.await.map_err(io::Error::other).flatten().map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// One at a time, of all threads and programs: what another one notes meanwhile would be lost.
fn replace_alone<R: Said>(file: &Path, row: &R, stands: bool) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    folder.lock()?;
    replace(file, row, stands)
}

/// As a whole: the run may be reading the file. Lines that say nothing of the same stay as they are.
fn replace<R: Said>(file: &Path, row: &R, stands: bool) -> io::Result<()> {
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        before => before?,
    };
    let stays = |line: &&str| serde_json::from_str::<R>(line).map_or(true, |before| !before.same(row));
    let mut lines: Vec<&str> = before.lines().filter(stays).collect();
    let row = serde_json::to_string(row)?;
    lines.extend(stands.then_some(row.as_str()));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_atomically(file, text.as_bytes()).map_err(io::Error::other)
}

fn failed(error: io::Error) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veto(pair: &str, reason: &str) -> Veto {
        Veto { pair: pair.into(), reason: reason.into() }
    }

    fn said(file: &Path) -> Vec<(String, String)> {
        let mut said: Vec<Veto> =
            fs::read_to_string(file).unwrap().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        said.sort_by(|a, b| a.pair.cmp(&b.pair));
        said.into_iter().map(|veto| (veto.pair, veto.reason)).collect()
    }

    #[test]
    fn what_many_note_at_once_all_stands() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vetoes.jsonl");
        let all = 0..16;
        std::thread::scope(|scope| {
            for nth in all.clone() {
                let file = &file;
                scope.spawn(move || replace_alone(file, &veto(&format!("p{nth:02}"), "no"), true).unwrap());
            }
        });
        assert_eq!(said(&file), all.map(|nth| (format!("p{nth:02}"), "no".to_owned())).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_word_counts_and_what_is_not_understood_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vetoes.jsonl");
        fs::write(&file, "what is this?\n").unwrap();
        for (pair, reason, stands) in [("a", "dull", true), ("b", "", true), ("a", "wrong", true), ("b", "", false)] {
            replace_alone(&file, &veto(pair, reason), stands).unwrap();
        }
        assert_eq!(said(&file), [("a".to_owned(), "wrong".to_owned())]);
        assert!(fs::read_to_string(&file).unwrap().starts_with("what is this?\n"));
    }

    #[test]
    fn what_is_said_of_another_text_is_not_the_same() {
        let of = |text: Option<&str>| -> Correction {
            let row = serde_json::json!({
                "dialogue": "d", "turn": 0, "sample": 0, "constraint": "c", "satisfied": true, "response": text,
            });
            serde_json::from_value(row).unwrap()
        };
        assert!(of(None).same(&of(Some("Tea."))) && of(Some("Tea.")).same(&of(None)));
        assert!(of(Some("Tea.")).same(&of(Some("Tea."))) && !of(Some("Tea.")).same(&of(Some("Milk."))));
    }
}
