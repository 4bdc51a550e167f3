//! Reads the records of a stage, behind the run that writes them down.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder};

use super::log::path;
use super::{HEAD, Head, Name, folder};

/// Bytes that are read at once in a search.
const BLOCK: u64 = 1 << 20;

/// What is known of a stage's records: some fifty bytes each in memory.
pub struct Reader {
    folder: PathBuf,
    name: String,
    /// How far each file has been read.
    files: BTreeMap<u64, u64>,
    entries: VecDeque<Entry>,
    /// Entries before the first one, whose files are gone.
    before: usize,
    /// Copies of each record that are there, by its hash.
    there: HashMap<u64, i64>,
}

/// A record that came or went.
#[derive(Clone, Copy)]
struct Entry {
    file: u64,
    at: u64,
    bytes: u32,
    copies: i32,
    at_ms: u64,
    hash: u64,
}

impl Entry {
    fn end(&self) -> u64 {
        self.at + u64::from(self.bytes)
    }
}

/// What a search has found.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Records that came and are still there, the newest first: its number, when it came (Unix time in ms), the record.
    pub records: Vec<(usize, u64, Vec<u8>)>,
    /// The number before which to go on, if not all was searched.
    pub before: Option<usize>,
}

impl Reader {
    /// Of a log of the run in a folder; nothing has been read.
    pub fn new(out: &Path, name: &Name) -> Self {
        let (folder, name) = (folder(out), name.to_string());
        let (files, entries, there) = (BTreeMap::new(), VecDeque::new(), HashMap::new());
        Reader { folder, name, files, entries, before: 0, there }
    }

    /// Reads what has been written since the last time.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn follow(&mut self) -> io::Result<()> {
        let lengths = self.lengths()?;
        // Another run has begun.
        let shorter = |(number, read): (&u64, &u64)| lengths.get(number).is_some_and(|length| length < read);
        if self.files.iter().any(shorter) || self.files.keys().last() > lengths.keys().last() {
            (self.files, self.entries, self.there, self.before) = Default::default();
        }
        self.forget_before(lengths.keys().next().copied().unwrap_or_default());
        for (number, length) in lengths {
            self.read_on(number, length)?;
        }
        Ok(())
    }

    /// Bytes of the stage's files, by number.
    fn lengths(&self) -> io::Result<BTreeMap<u64, u64>> {
        let mut lengths = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.rsplit_once('.')).filter(|(stage, _)| *stage == self.name);
            if let Some(number) = number.and_then(|(_, number)| number.parse().ok()) {
                lengths.insert(number, entry.metadata()?.len());
            }
        }
        Ok(lengths)
    }

    fn forget_before(&mut self, first: u64) {
        self.files = self.files.split_off(&first);
        while let Some(entry) = self.entries.front().copied().filter(|entry| entry.file < first) {
            self.entries.pop_front();
            self.count(entry.hash, -i64::from(entry.copies));
            self.before += 1;
        }
    }

    /// Reads a file's whole frames from where it was left.
    fn read_on(&mut self, number: u64, length: u64) -> io::Result<()> {
        let mut at = self.files.get(&number).copied().unwrap_or_default();
        if at == length {
            return Ok(());
        }
        let mut file = File::open(path(&self.folder, &self.name, number))?;
        file.seek(SeekFrom::Start(at))?;
        let (mut file, mut head, mut record) =
            (io::BufReader::with_capacity(BLOCK as usize, file), [0; HEAD], Vec::new());
        while at + HEAD as u64 <= length {
            file.read_exact(&mut head)?;
            let Head { bytes, copies, at_ms } = Head::decode(&head);
            let next = at + HEAD as u64 + u64::from(bytes);
            if next > length {
                break;
            }
            record.resize(bytes as usize, 0);
            file.read_exact(&mut record)?;
            let hash = blake3::hash(&record).as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
            self.entries.push_back(Entry { file: number, at: at + HEAD as u64, bytes, copies, at_ms, hash });
            self.count(hash, i64::from(copies));
            at = next;
        }
        self.files.insert(number, at);
        Ok(())
    }

    /// So many copies of a record more or less; fewer than none where it came in a file that is gone.
    fn count(&mut self, hash: u64, copies: i64) {
        let there = self.there.get(&hash).copied().unwrap_or_default() + copies;
        if there == 0 {
            self.there.remove(&hash);
        } else {
            self.there.insert(hash, there);
        }
    }

    /// Records that are there, of those that are known.
    pub fn len(&self) -> usize {
        self.there.values().filter(|copies| **copies > 0).count()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record of a number.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn record(&self, number: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(entry) = number.checked_sub(self.before).and_then(|at| self.entries.get(at)) else { return Ok(None) };
        let mut file = File::open(path(&self.folder, &self.name, entry.file))?;
        Ok(Some(piece(&mut file, entry.at, entry.end())?))
    }

    /// Looks for records that hold a text, whatever its case, before a number, the newest first: so many of them, and for no longer than
    /// `within`.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn search(&self, text: &str, before: Option<usize>, most: usize, within: Duration) -> io::Result<Found> {
        let (begin, wanted) = (Instant::now(), wanted(text)?);
        let mut found = Found::default();
        let mut shown = HashSet::new();
        let mut end =
            before.map_or(self.entries.len(), |before| before.saturating_sub(self.before).min(self.entries.len()));
        while end > 0 {
            if begin.elapsed() > within {
                found.before = Some(self.before + end);
                return Ok(found);
            }
            let first = self.block(end);
            let (from, file) = (self.entries[first].at, self.entries[first].file);
            // The run may have thrown the oldest away just now.
            let Ok(mut file) = File::open(path(&self.folder, &self.name, file)) else { return Ok(found) };
            let block = piece(&mut file, from, self.entries[end - 1].end())?;
            for number in (first..end).rev() {
                let entry = self.entries[number];
                let record = &block[(entry.at - from) as usize..(entry.end() - from) as usize];
                if !self.is_there(&entry, &shown) || !wanted.is_match(record) {
                    continue;
                }
                if found.records.len() == most {
                    found.before = Some(self.before + number + 1);
                    return Ok(found);
                }
                shown.insert(entry.hash);
                found.records.push((self.before + number, entry.at_ms, record.to_vec()));
            }
            end = first;
        }
        Ok(found)
    }

    /// Whether it came, is there, and was not shown as a newer copy.
    fn is_there(&self, entry: &Entry, shown: &HashSet<u64>) -> bool {
        entry.copies > 0
            && self.there.get(&entry.hash).is_some_and(|copies| *copies > 0)
            && !shown.contains(&entry.hash)
    }

    /// The first of the entries before `end` that are read with the last of them.
    fn block(&self, end: usize) -> usize {
        let last = self.entries[end - 1];
        let near = |entry: &Entry| entry.file == last.file && last.end() - entry.at <= BLOCK;
        let mut first = end - 1;
        while first > 0 && near(&self.entries[first - 1]) {
            first -= 1;
        }
        first
    }
}

fn wanted(text: &str) -> io::Result<Regex> {
    let wanted = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build();
    wanted.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn piece(file: &mut File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; (to - from) as usize];
    file.seek(SeekFrom::Start(from))?;
    file.read_exact(&mut piece)?;
    Ok(piece)
}
