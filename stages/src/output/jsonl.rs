//! Rows, pairs above all, as JSON lines.

use std::io::Write;
use std::path::Path;

use obvert_api::record::Pair;
use serde::Serialize;

use super::{Error, atomic, row::Row};

/// Writes one row a line: explicit-prompt conversational preference rows as TRL reads them.
///
/// # Errors
/// As of `write`; the first pair that could not be read.
pub fn write_pairs(path: &Path, pairs: impl IntoIterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
    atomic::write(path, |out| pairs.into_iter().try_for_each(|pair| line(path, out, &Row::from(&pair?))))
}

/// Writes one row a line.
///
/// # Errors
/// What the file system reports.
pub fn write(path: &Path, rows: impl IntoIterator<Item = impl Serialize>) -> Result<(), Error> {
    atomic::write(path, |out| rows.into_iter().try_for_each(|row| line(path, out, &row)))
}

/// One value and the end of its line.
pub(crate) fn line(path: &Path, out: &mut atomic::Out, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(&mut *out, value).map_err(Error::json(path))?;
    out.write_all(b"\n").map_err(Error::io(path))
}
