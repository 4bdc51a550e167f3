//! `rejected.jsonl`: every item that was set aside, with stage and reason.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::shown::{Reader, shown};
use crate::dataflow::{Change, Rejection, Settled, View, record_id};

/// Stages by index: the name, and for stages with code how to read their items.
type Readers = Vec<(String, Option<Reader>)>;

/// What items that are set aside are called in logs.
const LOGGED: &str = "rejected";

/// The view of all rejections; the file always holds the current set.
pub(super) struct Rejections {
    path: PathBuf,
    readers: Readers,
    rows: BTreeMap<(u64, Vec<u8>), isize>,
}

impl Rejections {
    pub(super) fn new(path: PathBuf, readers: Readers) -> Self {
        Rejections { path, readers, rows: BTreeMap::new() }
    }

    fn line(&self, row: &[u8]) -> Result<Value, String> {
        let (stage, item, reason): Rejection = serde_json::from_slice(row).map_err(|e| e.to_string())?;
        let (name, reader) = self.readers.get(stage).ok_or("a rejection of an unknown stage")?;
        let shown = shown(reader.as_ref(), &item);
        Ok(json!({ "stage": name, "record": record_id(&item), "reason": reason, "item": shown }))
    }

    fn write(&mut self) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("{}: {e}", self.path.display());
        let part = self.path.with_extension("jsonl.part");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&part).map_err(failed)?);
        for ((_, row), copies) in &self.rows {
            let line = self.line(row)?;
            (0..*copies).try_for_each(|_| writeln!(file, "{line}")).map_err(failed)?;
        }
        file.into_inner().map_err(|e| failed(e.into_error()))?.sync_all().map_err(failed)?;
        std::fs::rename(&part, &self.path).map_err(failed)
    }

    /// Says it in the log, too.
    fn log(&self, row: &[u8]) {
        let Ok((stage, item, reason)) = serde_json::from_slice::<Rejection>(row) else { return };
        let (stage, record) = (self.readers.get(stage).map(|(name, _)| name), record_id(&item));
        tracing::info!(target: LOGGED, stage, record, reason);
    }
}

impl View for Rejections {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        for change in changes {
            if change.diff > 0 && tracing::enabled!(target: LOGGED, tracing::Level::INFO) {
                self.log(&change.record);
            }
            let key = (change.root, change.record.to_vec());
            let copies = self.rows.entry(key.clone()).or_insert(0);
            *copies += change.diff;
            if *copies == 0 {
                self.rows.remove(&key);
            }
        }
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), String> {
        // What was set aside may be why the run was cut off.
        self.write()
    }

    fn commit(&mut self) -> Result<(), String> {
        self.write()
    }
}
