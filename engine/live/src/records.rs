//! The newest records of a run, on disk: what its stages made and took back, as it happened.
//!
//! A stage's records lie in files of frames behind each other, `state/records/STAGE.TYPE.0`, `.1`, …; the oldest files go when there are
//! more than so many. A frame is three numbers, little endian, and the record as the engine has it: bytes of the record (u32), copies
//! that came or went (i32), when (Unix time in ms, u64). The run writes, whoever looks reads behind it.

mod log;
mod reader;

pub use log::Log;
pub use reader::{Found, Reader};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of a frame's numbers.
const HEAD: usize = 16;
/// Bytes of a file, after which the next one begins.
const MOST: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };
/// Files of a stage that are kept.
const FILES: u64 = 4;

/// Where the records of a run are.
pub(crate) fn folder(out: &Path) -> PathBuf {
    out.join("state").join("records")
}

/// The stages of a run whose records are kept, and their types.
pub fn logs(out: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder(out)).into_iter().flatten().flatten().map(|file| file.file_name());
    let names = files.filter_map(|name| {
        let (name, _) = name.to_str()?.rsplit_once('.')?;
        let (stage, record) = name.rsplit_once('.')?;
        Some((stage.to_owned(), record.to_owned()))
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A frame's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    bytes: u32,
    copies: i32,
    at_ms: u64,
}

impl Head {
    fn encode(self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&self.bytes.to_le_bytes());
        head[4..8].copy_from_slice(&self.copies.to_le_bytes());
        head[8..].copy_from_slice(&self.at_ms.to_le_bytes());
        head
    }

    fn decode(head: &[u8; HEAD]) -> Self {
        let [b0, b1, b2, b3, c0, c1, c2, c3, at @ ..] = *head;
        Head {
            bytes: u32::from_le_bytes([b0, b1, b2, b3]),
            copies: i32::from_le_bytes([c0, c1, c2, c3]),
            at_ms: u64::from_le_bytes(at),
        }
    }
}

#[cfg(test)]
mod tests;
