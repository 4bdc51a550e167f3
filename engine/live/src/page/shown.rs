//! Records of the run, to be looked through.

use std::sync::{Arc, PoisonError, RwLock};
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
use crate::records::{Name, Reader, logs as all_logs};

/// Records of a page, and how long one is looked for.
const MOST: usize = 30;
const WITHIN: Duration = Duration::from_millis(60);

/// Between two looks at what has been written.
const EVERY: Duration = Duration::from_secs(1);

/// Reads behind the run, from when the page is opened: nobody who looks has to wait for all of it.
pub(super) async fn follow(shared: Arc<Shared>) {
    loop {
        let reading = Arc::clone(&shared);
        // A log that cannot be read is looked at again by who asks for it, and is told so.
        let _ = tokio::task::spawn_blocking(move || reading.follow_all()).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// A log of records.
#[derive(Serialize)]
pub(super) struct Shown {
    /// By which it is asked for.
    log: String,
    stage: String,
    record: String,
    /// Number of the process that keeps it, from 0.
    process: usize,
}

/// `GET /api/records`: what there is to look through.
pub(super) async fn logs(state: State) -> Json<Vec<Shown>> {
    let shown = |name: Name| {
        let log = name.to_string();
        let Name { stage, record, process } = name;
        Shown { log, stage, record, process }
    };
    Json(all_logs(&state.site.out).into_iter().map(shown).collect())
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
    let name = Name::read(&log).ok_or(StatusCode::NOT_FOUND)?;
    let reader = state.reader(&name)?;
    let looked = tokio::task::spawn_blocking(move || {
        reader.write().unwrap_or_else(PoisonError::into_inner).follow()?;
        // Many may search at once.
        let reader = reader.read().unwrap_or_else(PoisonError::into_inner);
        let found = reader.search(&wanted.text, wanted.before, MOST, WITHIN)?;
        std::io::Result::Ok((found, reader.len()))
    });
    let (found, all) =
        looked.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.map_err(|_| StatusCode::NOT_FOUND)?;
    let entry = |(number, at, record): (usize, u64, Vec<u8>)| Entry { number, at, record: json(&name.record, &record) };
    Ok(Json(Page { records: found.records.into_iter().map(entry).collect(), before: found.before, all }))
}

impl Shared {
    fn follow_all(&self) {
        for log in all_logs(&self.site.out) {
            let reader = self.opened(&log);
            let _ = reader.write().unwrap_or_else(PoisonError::into_inner).follow();
        }
    }

    fn reader(&self, log: &Name) -> Result<Arc<RwLock<Reader>>, StatusCode> {
        let known = all_logs(&self.site.out).contains(log);
        known.then(|| self.opened(log)).ok_or(StatusCode::NOT_FOUND)
    }

    /// The reader of a log that is there.
    fn opened(&self, log: &Name) -> Arc<RwLock<Reader>> {
        // What was read of an earlier run in the folder is void.
        let began = self.latest.now().board.began.to_bits();
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|(of, _), _| *of == began);
        let new = || Arc::new(RwLock::new(Reader::new(&self.site.out, log)));
        Arc::clone(readers.entry((began, log.clone())).or_insert_with(new))
    }
}

/// A record of a type, as JSON.
fn json(kind: &str, record: &[u8]) -> Value {
    let shown = match kind {
        Judged::NAME => decode::<Judged>(record).map(|judged| serde_json::to_value(judged).ok()),
        Pair::NAME => decode::<Pair>(record).map(|pair| serde_json::to_value(pair).ok()),
        _ => Ok(None),
    };
    shown.ok().flatten().unwrap_or(Value::Null)
}
