//! Records across the plugin border and back: decoded, handed to a stage that passes them on, encoded, copied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use obvert_api::Error;
use obvert_api::erased::{decode, encode};
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
    let alike = |made: &[u8]| made.len() == record.len();
    let crossed = rate(arguments, || {
        let made = stage.run(&batch);
        // To compare all of them takes a twentieth of the time, which is not the border's.
        anyhow::ensure!(made[0].as_ref().is_ok_and(|made| *made.records[0] == *record));
        anyhow::ensure!(
            made.iter().flatten().filter(|made| made.records.iter().all(|made| alike(made))).count() == batch.len()
        );
        Ok(())
    })?;
    let within = rate(arguments, || {
        let made: Result<Vec<Arc<[u8]>>, Error> =
            batch.iter().map(|work| encode(&decode::<Note>(work.item)?).map(Arc::from)).collect();
        anyhow::ensure!(made?.iter().all(|made| alike(made)));
        Ok(())
    })?;
    Ok(json!({
        "part": "border", "bytes": arguments.bytes, "batch": arguments.batch,
        "records_per_second": crossed.round(), "decoded_and_encoded_per_second": within.round(),
    }))
}

/// Records per second of something that is done to one batch after the other.
fn rate(arguments: &Arguments, mut batch: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let (begin, mut batches) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(arguments.seconds) {
        batch()?;
        batches += 1;
    }
    Ok((batches * arguments.batch) as f64 / begin.elapsed().as_secs_f64())
}
