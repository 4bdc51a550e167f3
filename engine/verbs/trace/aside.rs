//! What was set aside.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use obvert_engine::mentions;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line of `rejected.jsonl`.
#[derive(Serialize, Deserialize)]
pub(super) struct Aside {
    pub(super) stage: String,
    record: String,
    pub(super) reason: String,
    pub(super) item: Value,
}

/// What a run has set aside of this id, or with this text in it.
pub(super) fn set_aside(out: &Path, id: &str) -> anyhow::Result<Vec<Aside>> {
    let text = match fs::read_to_string(out.join("rejected.jsonl")) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(lines.filter(|aside: &Aside| aside.record == id || mentions(&aside.item, id)).collect())
}

/// The records of an item: those of a group, else itself.
pub(super) fn parts(item: &Value) -> Vec<Value> {
    item["records"].as_array().filter(|_| item.get("key").is_some()).cloned().unwrap_or_else(|| vec![item.clone()])
}
