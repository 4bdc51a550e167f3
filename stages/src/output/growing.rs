//! A file of JSON lines that only grows.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Error, atomic};
use obvert_engine::spool::Extent;

/// The file, open. Lines are durable after `sync`, not before.
pub(crate) struct Growing {
    path: PathBuf,
    out: BufWriter<File>,
    line: Vec<u8>,
    length: u64,
}

impl Growing {
    /// Goes on after the first `length` bytes, and drops those behind them; creates the file if it is missing.
    ///
    /// # Errors
    /// As of all that follow: what the file system reports.
    pub(crate) fn open(path: &Path, length: u64) -> Result<Self, Error> {
        let folder = atomic::folder_of(path);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(Error::io(path))?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(Error::io(path))?;
        atomic::sync_folder(folder)?;
        Ok(Growing { path: path.into(), out: BufWriter::new(file), line: Vec::new(), length })
    }

    /// Goes on after the last whole line: a crash may have torn the one behind it.
    pub(crate) fn resume(path: &Path) -> Result<Self, Error> {
        let bytes = if path.exists() { fs::read(path).map_err(Error::io(path))? } else { Vec::new() };
        Self::open(path, bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1))
    }

    /// Adds a line, and shows it as it stands in the file.
    pub(crate) fn append(&mut self, value: &impl Serialize) -> Result<&[u8], Error> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value).map_err(Error::json(&self.path))?;
        self.line.push(b'\n');
        self.out.write_all(&self.line).map_err(Error::io(&self.path))?;
        self.length += self.line.len() as u64;
        Ok(&self.line)
    }

    /// Hands all lines to the system: they survive the process.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::io(&self.path))
    }

    /// Makes all lines durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.out.get_ref().sync_data().map_err(Error::io(&self.path))
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What stands at a place that was there when the file was opened.
    pub(crate) fn read(&self, at: Extent) -> Result<Vec<u8>, Error> {
        at.read(self.out.get_ref()).map_err(Error::io(&self.path))
    }

    /// The file is not what it should be.
    pub(crate) fn refused(&self, cause: &str) -> Error {
        Error::Refused { path: self.path.clone(), cause: cause.into() }
    }
}
