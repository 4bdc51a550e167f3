//! Records across the plugin border and back: decoded, handed to a stage that passes them on, encoded, copied.

use std::time::{Duration, Instant};

use anyhow::Context;
use obvert_api::erased::encode;
use obvert_engine::stage::{Work, load};
use obvert_stream_stages::Note;
use serde_json::{Value, json};

use crate::library;

/// Arguments of `border`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Bytes of a record's text.
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Records that cross at once.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let stages = load(&library("stream_stages")?).map_err(anyhow::Error::msg)?;
    let stage = stages.iter().find(|stage| stage.manifest.name == "note-pass").context("no stage `note-pass`")?;
    let stage = stage.create(&json!({}))?;
    let note = Note { id: "n".into(), key: "k".into(), value: 1, text: "x".repeat(arguments.bytes), words: 1 };
    let record = encode(&note)?;
    let batch: Vec<_> = (0..arguments.batch).map(|_| Work { item: &record, replies: &[] }).collect();
    let (begin, mut records) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(arguments.seconds) {
        let made = stage.run(&batch);
        anyhow::ensure!(made.iter().all(|made| made.as_ref().is_ok_and(|made| *made.records[0] == *record)));
        records += made.len();
    }
    let rate = records as f64 / begin.elapsed().as_secs_f64();
    Ok(
        json!({ "part": "border", "bytes": arguments.bytes, "batch": arguments.batch, "records_per_second": rate.round() }),
    )
}
