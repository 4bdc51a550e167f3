//! Bytes that need not be in memory: a file without a name, gone with the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Where bytes lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first one's place.
    pub at: u64,
    /// How many there are.
    pub length: u32,
}

/// An append-only file of byte strings.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    /// Appended, and not in the file yet.
    tail: Vec<u8>,
    written: u64,
}

/// Bytes that are written at once.
const CHUNK: usize = 1 << 16;

impl Spool {
    /// An empty one in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Spool { file: Arc::new(tempfile::tempfile_in(folder)?), tail: Vec::new(), written: 0 })
    }

    /// Keeps bytes.
    ///
    /// # Errors
    /// What the file system reports; nothing is kept then.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<Extent> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let at = self.len();
        self.tail.extend_from_slice(bytes);
        if self.tail.len() >= CHUNK {
            self.flush()?;
        }
        Ok(Extent { at, length })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.tail, self.written)?;
        self.written += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }

    /// The file with all that was kept so far, to be read on any thread, whatever becomes of the spool.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn share(&mut self) -> io::Result<Arc<File>> {
        self.flush()?;
        Ok(Arc::clone(&self.file))
    }

    /// The bytes that were kept there.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn get(&self, extent: Extent) -> io::Result<Vec<u8>> {
        match extent.at.checked_sub(self.written) {
            Some(start) => Ok(self.tail[start as usize..][..extent.length as usize].to_vec()),
            None => extent.read(&self.file),
        }
    }

    /// Bytes of all that was ever kept.
    pub fn len(&self) -> u64 {
        self.written + self.tail.len() as u64
    }

    /// Whether nothing was ever kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Extent {
    /// The bytes there.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn read(self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length as usize];
        file.read_exact_at(&mut bytes, self.at)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(&folder.path().join("new")).unwrap();
        let kept: Vec<_> = (0..300_usize).map(|n| (vec![n as u8; n * 7 % 1000], n)).collect();
        let extents: Vec<_> = kept.iter().map(|(bytes, _)| spool.push(bytes).unwrap()).collect();
        assert!(spool.len() > CHUNK as u64);
        for ((bytes, n), extent) in kept.iter().zip(extents) {
            assert_eq!(spool.get(extent).unwrap(), *bytes, "{n}");
        }
    }
}
