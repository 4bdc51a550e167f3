//! TensorBoard event files: TFRecord framing around the few protobuf fields that a scalar needs.
//!
//! A record is length (u64), masked CRC-32C of the length, payload, masked CRC-32C of the payload, little-endian. The
//! payload is tensorflow's `Event` message (tensorflow/core/util/event.proto, framework/summary.proto).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Error;

/// What the names of event files begin with; the seconds since 1970 follow, which order the files of a run.
const PREFIX: &str = "events.out.tfevents.";

/// An event file, open for writing. A restarted trainer begins a new one: TensorBoard reads all files of a folder.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `dir`, after any that is there. With `resumed_from`, the step of the checkpoint that
    /// training continues from, TensorBoard discards what earlier files hold of later steps.
    pub fn create(dir: &Path, resumed_from: Option<u64>) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let seconds = (now() as u64).max(latest(dir)? + 1);
        let path = dir.join(format!("{PREFIX}{seconds:010}.obvert.{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(Error::io(&path))?;
        let mut events = EventFile { path, file };
        events.record(&event(0, &bytes_field(3, b"brain.Event:2")))?;
        if let Some(step) = resumed_from {
            // SessionLog { status: START }: from this step on, earlier files are orphaned.
            events.record(&event(step + 1, &bytes_field(7, &varint_field(1, 1))))?;
        }
        Ok(events)
    }

    /// Logs the values of one step, under the tags of Hugging Face's trainers: see [`tag`].
    pub fn scalars(&mut self, step: u64, values: &BTreeMap<String, f64>) -> Result<(), Error> {
        let scalars = values.iter().filter(|(name, _)| *name != "step").flat_map(|(name, value)| {
            let scalar = [bytes_field(1, tag(name).as_bytes()), float_field(2, *value as f32)].concat();
            bytes_field(1, &scalar)
        });
        let summary: Vec<u8> = scalars.collect();
        self.record(&event(step, &bytes_field(5, &summary)))
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record(&mut self, payload: &[u8]) -> Result<(), Error> {
        let length = (payload.len() as u64).to_le_bytes();
        let framed = [&length, &masked_crc(&length)[..], payload, &masked_crc(payload)].concat();
        self.file.write_all(&framed).map_err(Error::io(&self.path))
    }
}

/// The tag of a logged value: `eval_loss` is `eval/loss`, anything else is under `train/`, as transformers'
/// TensorBoard callback has it; so TRL's `rewards/chosen` is `train/rewards/chosen`.
pub fn tag(name: &str) -> String {
    match name.strip_prefix("eval_") {
        Some(rest) => format!("eval/{rest}"),
        None => format!("train/{name}"),
    }
}

/// The greatest number of seconds among the event files of a folder.
fn latest(dir: &Path) -> Result<u64, Error> {
    let mut latest = 0;
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let name = entry.map_err(Error::io(dir))?.file_name();
        let stamp = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|rest| rest.split('.').next());
        latest = latest.max(stamp.and_then(|s| s.parse().ok()).unwrap_or(0));
    }
    Ok(latest)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Event { wall_time = 1: double, step = 2: int64, what }.
fn event(step: u64, what: &[u8]) -> Vec<u8> {
    let wall_time = [&[(1 << 3) | 1][..], &now().to_le_bytes()].concat();
    [&wall_time, &varint_field(2, step)[..], what].concat()
}

/// Wire type 2: length and bytes.
fn bytes_field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[(number << 3) | 2][..], &varint(value.len() as u64), value].concat()
}

/// Wire type 0.
fn varint_field(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3][..], &varint(value)].concat()
}

/// Wire type 5.
fn float_field(number: u8, value: f32) -> Vec<u8> {
    [&[(number << 3) | 5][..], &value.to_le_bytes()].concat()
}

/// Seven bits a byte, least significant first; the top bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// CRCs of data that holds CRCs are stored rotated and shifted (tensorflow/core/lib/hash/crc32c.h).
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
