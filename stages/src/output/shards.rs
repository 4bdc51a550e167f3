//! How a large set of pairs is split into files, so that a change rewrites few of them.
//!
//! The number of files depends on the number of rows alone and a pair's file on its dialogue, so what a folder holds does not
//! depend on how it came to.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// When a set is split, and how finely.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows that are one file at most.
    pub whole: usize,
    /// Rows of one of several files at most, on average.
    pub shard: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { whole: 1 << 16, shard: 1 << 13 }
    }
}

impl Bounds {
    /// Files for so many rows: a power of two, so that a pair's file is found from the last bits of a hash.
    pub fn files(&self, rows: usize) -> u32 {
        if rows <= self.whole { 1 } else { rows.div_ceil(self.shard).next_power_of_two() as u32 }
    }
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Which, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl Shard {
    /// The only one.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// `stem.extension`, or `stem-00003-of-00064.extension`.
    pub fn name(self, stem: &str, extension: &str) -> String {
        let Shard { index, of } = self;
        if of == 1 { format!("{stem}.{extension}") } else { format!("{stem}-{index:05}-of-{of:05}.{extension}") }
    }
}

/// The name that stands for all of the files: theirs, with a star for the index where they are several.
pub fn pattern(stem: &str, extension: &str, of: u32) -> String {
    if of == 1 { format!("{stem}.{extension}") } else { format!("{stem}-*-of-{of:05}.{extension}") }
}

/// Removes the files of a set that was split into another number.
///
/// # Errors
/// What the file system reports.
pub(super) fn remove_others(folder: &Path, stem: &str, extension: &str, of: u32) -> Result<(), Error> {
    let mut others = found(folder, stem, extension)?.into_iter().filter(|(shard, _)| shard.of != of);
    others.try_for_each(|(_, path)| fs::remove_file(&path).map_err(Error::io(&path)))
}

/// The files of a set that are in a folder, in their order. While it is split anew there may be those of two splits.
///
/// # Errors
/// What the file system reports.
pub fn found(folder: &Path, stem: &str, extension: &str) -> Result<Vec<(Shard, PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        found.extend(shard(name, stem, extension).map(|shard| (shard, path)));
    }
    found.sort();
    Ok(found)
}

/// The shard whose name this is, if it is one.
fn shard(name: &str, stem: &str, extension: &str) -> Option<Shard> {
    let numbers = name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')?;
    let shard = match numbers.strip_prefix('-').and_then(|numbers| numbers.split_once("-of-")) {
        Some((index, of)) => Shard { index: index.parse().ok()?, of: of.parse().ok()? },
        None => Shard::WHOLE,
    };
    (shard.name(stem, extension) == name).then_some(shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_split_by_its_size_alone() {
        let files = |rows| Bounds::default().files(rows);
        assert_eq!([0, 1, 65_536].map(files), [1, 1, 1]);
        assert_eq!([65_537, 131_072, 131_073, 400_000].map(files), [16, 16, 32, 64]);
    }

    #[test]
    fn files_of_another_split_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["pairs.jsonl", "pairs-00001-of-00016.jsonl", "pairs-00001-of-00004.jsonl"];
        let others =
            ["pairs-1-of-16.jsonl", "pairs-2.jsonl", "pairs-00001-of-00016.parquet", "changes.jsonl", "README.md"];
        let left = |of| {
            names.iter().chain(&others).for_each(|name| fs::write(folder.path().join(name), "").unwrap());
            remove_others(folder.path(), "pairs", "jsonl", of).unwrap();
            assert!(others.iter().all(|name| folder.path().join(name).exists()));
            names.map(|name| folder.path().join(name).exists())
        };
        assert_eq!([left(1), left(16), left(4)], [[true, false, false], [false, true, false], [false, false, true]]);
    }
}
