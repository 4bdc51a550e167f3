//! A file read in pieces, every piece checked against the file's length before anything is allocated.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// An open file of known length (bytes).
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) len: u64,
    file: File,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
        if !metadata.is_file() {
            return Err(Error::malformed(path, "not a regular file"));
        }
        Ok(Self { path: path.to_owned(), len: metadata.len(), file })
    }

    /// The `len` bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > self.len) {
            let cause = format!("{len} bytes at {offset} lie outside the file of {} bytes", self.len);
            return Err(self.error(cause));
        }
        let size = usize::try_from(len).map_err(|e| self.error(e))?;
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, offset).map_err(|e| Error::io(&self.path, e))?;
        Ok(bytes)
    }

    /// Reads the file from its start in order.
    pub(super) fn reader(&self) -> Result<Reader<'_>, Error> {
        let file = File::open(&self.path).map_err(|e| Error::io(&self.path, e))?;
        Ok(Reader { source: self, inner: BufReader::new(file), position: 0 })
    }

    /// Adds the file's length and bytes to a hash.
    pub(super) fn hash(&self, hasher: &mut blake3::Hasher) -> Result<(), Error> {
        let file = File::open(&self.path).map_err(|e| Error::io(&self.path, e))?;
        hasher.update(&self.len.to_le_bytes());
        hasher.update_reader(file).map_err(|e| Error::io(&self.path, e))?;
        Ok(())
    }

    pub(super) fn error(&self, cause: impl std::fmt::Display) -> Error {
        Error::malformed(&self.path, cause)
    }

    pub(super) fn tensor_error(&self, tensor: &str, cause: impl std::fmt::Display) -> Error {
        self.error(format!("tensor {tensor}: {cause}"))
    }
}

/// A cursor over a [`Source`], for headers whose length is not known beforehand.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    inner: BufReader<File>,
    pub(super) position: u64,
}

impl Reader<'_> {
    /// Bytes not read yet.
    pub(super) fn left(&self) -> u64 {
        self.source.len.saturating_sub(self.position)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|e| Error::io(&self.source.path, e))?;
        Ok(bytes)
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Error> {
        self.claim(len)?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|e| self.source.error(e))?];
        self.inner.read_exact(&mut bytes).map_err(|e| Error::io(&self.source.path, e))?;
        Ok(bytes)
    }

    fn claim(&mut self, len: u64) -> Result<(), Error> {
        if len > self.left() {
            let cause = format!("{len} bytes expected at {}, the file ends at {}", self.position, self.source.len);
            return Err(self.source.error(cause));
        }
        self.position += len;
        Ok(())
    }
}
