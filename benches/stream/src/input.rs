//! The records, from their file or from memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::encode;
use obvert_api::serde::de::DeserializeOwned;
use obvert_engine::registry::{Entry, Row, Rows, Source};
use obvert_stream_stages::Note;
use serde_json::json;

/// The records of a file of JSON lines.
pub fn read<R: DeserializeOwned>(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<R>>> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut line = Vec::new();
    Ok(std::iter::from_fn(move || {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&line).map_err(anyhow::Error::from)),
            Err(error) => Some(Err(error.into())),
        }
    }))
}

/// A source of notes that are in memory.
pub struct Held(pub Arc<Vec<Note>>);

impl Held {
    /// As a stage type.
    pub fn entry(notes: Arc<Vec<Note>>) -> Entry {
        let open = move |_: &serde_json::Value, _| Ok(Arc::new(Held(Arc::clone(&notes))) as Arc<dyn Source>);
        Entry::source::<Note>(json!({ "type": "object", "additionalProperties": true }), Arc::new(open))
    }
}

impl Source for Held {
    fn rows(&self) -> Result<Rows, String> {
        let notes = Arc::clone(&self.0);
        let row = |note: &Note| Row {
            key: note.id.clone().into_bytes(),
            record: encode(note).map_err(|error| (note.id.clone(), format!("not a {}: {error}", Note::NAME))),
        };
        Ok(Box::new((0..notes.len()).map(move |at| row(&notes[at]))))
    }

    fn stamp(&self) -> u64 {
        0
    }
}
