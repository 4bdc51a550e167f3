//! The newest records of a run, on disk: what its stages made and took back, as it happened.
//!
//! A stage's records lie in files of frames behind each other, `state/records/STAGE.TYPE.0`, `.1`, …; the oldest files go when there are
//! more than so many. Of several processes each keeps its own, the third in `STAGE.TYPE@2.0`, ….
//!
//! A frame is three numbers, little endian, and the record as the engine has it: bytes of the record (u32), copies
//! that came or went (i32), when (Unix time in ms, u64). The run writes, whoever looks reads behind it.

mod log;
mod reader;

pub use log::Log;
pub use reader::{Found, Reader};

use std::collections::BTreeSet;
use std::fmt;
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

/// What a log is called: `STAGE.TYPE`, or `STAGE.TYPE@NUMBER` of a process that is not the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Whose records are kept.
    pub stage: String,
    /// Their type.
    pub record: String,
    /// Number of the process that keeps them, from 0.
    pub process: usize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { stage, record, process } = self;
        let of = if *process == 0 { String::new() } else { format!("@{process}") };
        write!(f, "{stage}.{record}{of}")
    }
}

impl Name {
    /// The name of a log, read.
    pub fn read(name: &str) -> Option<Self> {
        let (kept, process) = match name.rsplit_once('@') {
            Some((kept, process)) => (kept, process.parse().ok()?),
            None => (name, 0),
        };
        let (stage, record) = kept.rsplit_once('.')?;
        Some(Name { stage: stage.to_owned(), record: record.to_owned(), process })
    }
}

/// The logs of a run.
pub fn logs(out: &Path) -> BTreeSet<Name> {
    let files = std::fs::read_dir(folder(out)).into_iter().flatten().flatten().map(|file| file.file_name());
    files.filter_map(|file| Name::read(file.to_str()?.rsplit_once('.')?.0)).collect()
}

/// Takes away what a run has kept.
pub(crate) fn clear(out: &Path) {
    // There may be nothing; what cannot be taken away is no reason not to run.
    drop(std::fs::remove_dir_all(folder(out)));
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
