//! Notes of a size, which are made as they are read.

use std::sync::Arc;

use obvert_api::erased::encode;
use obvert_engine::registry::{Entry, Row, Rows, Source};
use obvert_stream_stages::Note;
use serde_json::{Value, json};

/// So many notes.
#[derive(Clone, Copy)]
pub struct Generated {
    pub rows: u64,
    /// Bytes of a note's text.
    pub bytes: usize,
}

impl Generated {
    /// As a stage type.
    pub fn entry(self) -> Entry {
        let open = move |_: &Value, _| Ok(Arc::new(self) as Arc<dyn Source>);
        Entry::source::<Note>(json!({ "type": "object" }), Arc::new(open))
    }
}

impl Source for Generated {
    fn rows(&self) -> Result<Rows, String> {
        let words = "Nothing is as long as a record that waits. ";
        let text: Arc<str> = words.repeat(self.bytes / words.len()).into();
        Ok(Box::new((0..self.rows).map(move |number| {
            let id = format!("r{number}");
            let note =
                Note { id: id.clone(), key: format!("k{}", number % 1000), value: 0, text: text.to_string(), words: 0 };
            Row { key: id.clone().into_bytes(), record: encode(&note).map_err(|error| (id, error.to_string())) }
        })))
    }

    fn stamp(&self) -> u64 {
        0
    }
}
