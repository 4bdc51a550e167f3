//! Places of rows: a key's is its position in a file, to which new ones are appended.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use hashbrown::HashMap;

/// A hash of a row's key, and of how many rows before it have the same.
type Key = [u8; 16];

/// Keys that are written at once.
const CHUNK: usize = 4096;

/// The places of all rows that a source ever had.
pub(super) struct Places {
    file: File,
    known: HashMap<Key, u64>,
    /// Not in the file yet.
    new: Vec<Key>,
    /// Whether some in the file may not be on disk.
    unsure: bool,
}

impl Places {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let bytes = if path.exists() { std::fs::read(path)? } else { Vec::new() };
        let (keys, torn) = bytes.as_chunks();
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        // A key that a crash tore was of a row that nothing has seen.
        file.set_len((bytes.len() - torn.len()) as u64)?;
        let known = keys.iter().copied().zip(0..).collect();
        Ok(Places { file, known, new: Vec::new(), unsure: true })
    }

    /// So many have been given out.
    pub(super) fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// The place of the n-th row of a key; a new one where it has none.
    pub(super) fn place(&mut self, key: &[u8], nth: u32) -> io::Result<u64> {
        let (key, next) = (hash(key, nth), self.len());
        let place = *self.known.entry(key).or_insert_with(|| {
            self.new.push(key);
            next
        });
        if self.new.len() >= CHUNK {
            self.write()?;
        }
        Ok(place)
    }

    /// Has all places on disk when it returns.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        self.write()?;
        if std::mem::take(&mut self.unsure) {
            self.file.sync_all()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.unsure |= !self.new.is_empty();
        self.file.write_all(self.new.as_flattened())?;
        self.new.clear();
        Ok(())
    }
}

fn hash(key: &[u8], nth: u32) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&nth.to_le_bytes());
    hasher.update(key);
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_key_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.keys");
        let mut places = Places::open(&path).unwrap();
        assert_eq!([b"a", b"b", b"a"].map(|key| places.place(key, 0).unwrap()), [0, 1, 0]);
        places.keep().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..20]).unwrap();
        let mut places = Places::open(&path).unwrap();
        assert_eq!([b"c", b"a"].map(|key| places.place(key, 0).unwrap()), [1, 0]);
    }
}
