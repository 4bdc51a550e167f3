//! Places of rows: a key's is its position in a file, to which new ones are appended. Memory holds eight bytes of a row, and
//! what the table of them costs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hashbrown::HashTable;
use smallvec::SmallVec;

/// A hash of a row's key, and of how many rows before it have the same.
type Key = [u8; 16];

/// Keys that are written at once.
const CHUNK: usize = 4096;
/// Keys that are read at once: a source that is read again has most of its rows where they were.
const BLOCK: usize = 256;

/// The places of all rows that a source ever had.
pub(super) struct Places {
    file: File,
    /// The beginning of each key, and its place: there the file has the whole of it.
    known: HashTable<([u8; 4], u32)>,
    /// Keys in the file.
    written: u64,
    /// The ones behind them.
    new: Vec<Key>,
    /// Some of the file, and the place of the first.
    block: (u64, Vec<Key>),
    /// Whether some in the file may not be on disk.
    unsure: bool,
}

impl Places {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let bytes = if path.exists() { std::fs::read(path)? } else { Vec::new() };
        let (keys, torn) = bytes.as_chunks::<{ size_of::<Key>() }>();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // A key that a crash tore was of a row that nothing has seen.
        file.set_len((bytes.len() - torn.len()) as u64)?;
        let known = HashTable::with_capacity(keys.len());
        let (written, new, block) = (keys.len() as u64, Vec::new(), (0, Vec::new()));
        let mut places = Places { file, known, written, new, block, unsure: true };
        keys.iter().try_for_each(|key| places.learn(key))?;
        Ok(places)
    }

    /// So many have been given out.
    pub(super) fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// The place of the n-th row of a key; a new one where it has none.
    pub(super) fn place(&mut self, key: &[u8], nth: u32) -> io::Result<u64> {
        let key = hash(key, nth);
        if let Some(place) = self.find(&key)? {
            return Ok(u64::from(place));
        }
        self.learn(&key)?;
        self.new.push(key);
        if self.new.len() >= CHUNK {
            self.write()?;
        }
        Ok(self.len() - 1)
    }

    fn find(&mut self, key: &Key) -> io::Result<Option<u32>> {
        let alike = |(start, _): &&([u8; 4], u32)| *start == start_of(key);
        let alike: SmallVec<[u32; 4]> =
            self.known.iter_hash(spread(start_of(key))).filter(alike).map(|(_, place)| *place).collect();
        for place in alike {
            if self.key(place)? == *key {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn key(&mut self, place: u32) -> io::Result<Key> {
        let place = u64::from(place);
        if let Some(new) = place.checked_sub(self.written) {
            return Ok(self.new[new as usize]);
        }
        let (first, keys) = &self.block;
        match place.checked_sub(*first).and_then(|at| keys.get(at as usize)) {
            Some(key) => Ok(*key),
            None => self.read(place),
        }
    }

    /// Reads the key of a place, and those behind it.
    fn read(&mut self, place: u64) -> io::Result<Key> {
        let count = BLOCK.min((self.written - place) as usize);
        let mut keys = vec![Key::default(); count];
        self.file.read_exact_at(keys.as_flattened_mut(), place * size_of::<Key>() as u64)?;
        self.block = (place, keys);
        Ok(self.block.1[0])
    }

    /// Gives the next place to a key.
    fn learn(&mut self, key: &Key) -> io::Result<()> {
        let place = u32::try_from(self.known.len()).map_err(|_| io::Error::other("a source of more than 2^32 rows"))?;
        self.known.insert_unique(spread(start_of(key)), (start_of(key), place), |(start, _)| spread(*start));
        Ok(())
    }

    /// Has all places on disk when it returns.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        self.write()?;
        if self.unsure {
            self.file.sync_all()?;
            self.unsure = false;
        }
        Ok(())
    }

    /// Writes new keys behind the others. Where that fails in the middle it is done over, at the same place, the next time.
    fn write(&mut self) -> io::Result<()> {
        self.unsure |= !self.new.is_empty();
        self.file.write_all_at(self.new.as_flattened(), self.written * size_of::<Key>() as u64)?;
        self.written += self.new.len() as u64;
        self.new.clear();
        Ok(())
    }
}

fn start_of(key: &Key) -> [u8; 4] {
    [key[0], key[1], key[2], key[3]]
}

/// Over all bits of a table's hash.
fn spread(start: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(start)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
    fn keys_are_found_in_the_file_and_before_they_are_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.keys");
        let rows = 2 * CHUNK as u64 + 7;
        let all = |places: &mut Places| {
            (0..rows).for_each(|row| assert_eq!(places.place(&row.to_le_bytes(), 0).unwrap(), row));
        };
        let mut places = Places::open(&path).unwrap();
        all(&mut places);
        all(&mut places);
        places.keep().unwrap();
        let mut places = Places::open(&path).unwrap();
        all(&mut places);
        assert_eq!((places.place(&[0; 8], 1).unwrap(), places.place(&[0; 8], 0).unwrap()), (rows, 0));
        // Keys that begin alike are told apart by the rest.
        let mut alike = hash(&[0; 8], 0);
        alike[15] ^= 1;
        assert_eq!((places.find(&alike).unwrap(), places.find(&hash(&[0; 8], 0)).unwrap()), (None, Some(0)));
    }

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
