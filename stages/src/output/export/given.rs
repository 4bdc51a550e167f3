//! The rows that are given, those left out that break a rule.

use std::fs::File;
use std::io::{BufRead, BufReader, Split};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::row::Row;
use super::{Counts, Error};

/// The rows of files of JSON lines that pass a check.
pub(super) struct Given<'a, F> {
    files: std::slice::Iter<'a, PathBuf>,
    /// The file that is read, its lines, and how many of them were.
    open: Option<(&'a PathBuf, Split<BufReader<File>>, usize)>,
    check: fn(&Row) -> Result<(), String>,
    counts: &'a mut Counts,
    set_aside: F,
}

/// A line and its place.
struct Line<'a> {
    file: &'a Path,
    number: usize,
    text: Vec<u8>,
}

impl<'a, F: FnMut(&Value) -> Result<(), Error>> Given<'a, F> {
    pub(super) fn new(
        files: &'a [PathBuf],
        check: fn(&Row) -> Result<(), String>,
        counts: &'a mut Counts,
        set_aside: F,
    ) -> Self {
        Given { files: files.iter(), open: None, check, counts, set_aside }
    }

    /// The next row that passes. What does not is set aside with its place and the rule.
    fn advance(&mut self) -> Result<Option<Row>, Error> {
        while let Some(Line { file, number, text }) = self.line()? {
            match Row::read(&text).and_then(|row| (self.check)(&row).map(|()| row)) {
                Ok(row) => {
                    self.counts.exported += 1;
                    self.counts.without_margin += u64::from(row.margin_g == 0);
                    return Ok(Some(row));
                }
                Err(rule) => {
                    self.counts.rejected += 1;
                    let file = file.file_name().unwrap_or_default().to_string_lossy();
                    (self.set_aside)(&json!({"file": file, "line": number, "rule": rule}))?;
                }
            }
        }
        Ok(None)
    }

    /// The next line that holds something.
    fn line(&mut self) -> Result<Option<Line<'a>>, Error> {
        loop {
            let Some((path, lines, count)) = &mut self.open else {
                let Some(path) = self.files.next() else { return Ok(None) };
                self.open = Some((path, BufReader::new(File::open(path).map_err(Error::io(path))?).split(b'\n'), 0));
                continue;
            };
            let Some(text) = lines.next().transpose().map_err(Error::io(path))? else {
                self.open = None;
                continue;
            };
            *count += 1;
            if !text.trim_ascii().is_empty() {
                return Ok(Some(Line { file: path, number: *count, text }));
            }
        }
    }
}

impl<F: FnMut(&Value) -> Result<(), Error>> Iterator for Given<'_, F> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
