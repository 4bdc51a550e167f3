//! Records of the run, to be looked through.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use obvert_api::Record;
use obvert_api::erased::decode;
use obvert_api::record::{Judged, Pair};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Shared, State};
use crate::records::{Reader, logs as all_logs};

/// Records of a page, and how long one is looked for.
const MOST: usize = 30;
const WITHIN: Duration = Duration::from_millis(60);

/// A log of records.
#[derive(Serialize)]
pub(super) struct Shown {
    /// By which it is asked for.
    log: String,
    stage: String,
    record: String,
}

/// `GET /api/records`: what there is to look through.
pub(super) async fn logs(state: State) -> Json<Vec<Shown>> {
    let logs = all_logs(&state.site.out).into_iter();
    Json(logs.map(|(stage, record)| Shown { log: format!("{stage}.{record}"), stage, record }).collect())
}

/// What is looked for.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    text: String,
    before: Option<usize>,
}

/// What was found.
#[derive(Serialize)]
pub(super) struct Page {
    records: Vec<Entry>,
    /// Before which number to go on, if not all was looked through.
    before: Option<usize>,
    /// Records that there are.
    all: usize,
}

#[derive(Serialize)]
pub(super) struct Entry {
    number: usize,
    /// Unix time in ms.
    at: u64,
    record: Value,
}

/// `GET /api/records/{log}?text=&before=`
pub(super) async fn records(
    state: State,
    Path(log): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, StatusCode> {
    let reader = state.reader(&log)?;
    let looked = tokio::task::spawn_blocking(move || {
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.follow()?;
        let found = reader.search(&wanted.text, wanted.before, MOST, WITHIN)?;
        std::io::Result::Ok((found, reader.len()))
    });
    let (found, all) =
        looked.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.map_err(|_| StatusCode::NOT_FOUND)?;
    let entry = |(number, at, record): (usize, u64, Vec<u8>)| Entry { number, at, record: json(&log, &record) };
    Ok(Json(Page { records: found.records.into_iter().map(entry).collect(), before: found.before, all }))
}

/// `GET /api/records/{log}/{number}`
pub(super) async fn record(
    state: State,
    Path((log, number)): Path<(String, usize)>,
) -> Result<Json<Value>, StatusCode> {
    let record = state.reader(&log)?.lock().unwrap_or_else(PoisonError::into_inner).record(number);
    let record = record.ok().flatten().ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(json(&log, &record)))
}

impl Shared {
    fn reader(&self, log: &str) -> Result<Arc<Mutex<Reader>>, StatusCode> {
        let known = all_logs(&self.site.out).into_iter().any(|(stage, record)| format!("{stage}.{record}") == log);
        if !known {
            return Err(StatusCode::NOT_FOUND);
        }
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Mutex::new(Reader::new(&self.site.out, log)));
        Ok(Arc::clone(readers.entry(log.to_owned()).or_insert_with(new)))
    }
}

/// A record of a log, as JSON.
pub(super) fn json(log: &str, record: &[u8]) -> Value {
    let shown = match log.rsplit_once('.') {
        Some((_, Judged::NAME)) => decode::<Judged>(record).map(|judged| serde_json::to_value(judged).ok()),
        Some((_, Pair::NAME)) => decode::<Pair>(record).map(|pair| serde_json::to_value(pair).ok()),
        _ => Ok(None),
    };
    shown.ok().flatten().unwrap_or(Value::Null)
}
