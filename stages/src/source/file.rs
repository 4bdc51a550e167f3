//! The rows of one file, by its format.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use obvert_engine::registry::BadRow;
use serde_json::{Map, Value};

use super::row::{At, Place, Row};

/// The formats, for messages.
pub(super) const KNOWN: &str = ".jsonl, .csv, .parquet, .txt or .md";

/// How a file holds its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Jsonl,
    Csv,
    Parquet,
    /// The file is one row.
    Text,
}

impl Format {
    /// As the file's name says; all but Parquet may be gzipped.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        match plain.rsplit_once('.')?.1 {
            "jsonl" | "json" | "ndjson" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "parquet" if plain == name => Some(Format::Parquet),
            "txt" | "md" => Some(Format::Text),
            _ => None,
        }
    }
}

/// The rows of one file.
pub(super) type FileRows = Box<dyn Iterator<Item = Result<Row, BadRow>> + Send>;

/// The rows of a file, the last of them bad where it cannot be read on.
pub(super) fn read(path: &Path) -> FileRows {
    opened(path).unwrap_or_else(|error| one(unreadable(path, error)))
}

fn opened(path: &Path) -> std::io::Result<FileRows> {
    match Format::of(path) {
        Some(Format::Parquet) => Ok(read_parquet(path)),
        Some(Format::Csv) => Ok(read_csv(path, reader(path)?)),
        Some(Format::Text) => read_text(path, reader(path)?),
        Some(Format::Jsonl) | None => Ok(read_jsonl(path, reader(path)?)),
    }
}

pub(super) fn one(row: Result<Row, BadRow>) -> FileRows {
    Box::new(std::iter::once(row))
}

/// What stands for all rows that a file does not give.
pub(super) fn unreadable(path: &Path, cause: impl std::fmt::Display) -> Result<Row, BadRow> {
    Err((String::new(), format!("{}: {cause}", path.display())))
}

#[cfg(feature = "parquet")]
use super::parquet::read as read_parquet;

#[cfg(not(feature = "parquet"))]
fn read_parquet(path: &Path) -> FileRows {
    one(unreadable(path, "this program was built without the feature `parquet`"))
}

/// The file's text, unpacked if it begins as gzip does, without a byte order mark.
fn reader(path: &Path) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::new(File::open(path)?);
    let zipped = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let mut text: Box<dyn BufRead + Send> =
        if zipped { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
    if text.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        text.consume(3);
    }
    Ok(text)
}

fn read_jsonl(path: &Path, reader: Box<dyn BufRead + Send>) -> FileRows {
    let path: Arc<Path> = path.into();
    let rows = until_error(reader.split(b'\n')).enumerate().filter_map(move |(index, line)| match line {
        Ok(line) if line.trim_ascii().is_empty() => None,
        Ok(line) => Some(text_row(line, At { path: Arc::clone(&path), place: Place::Line(index + 1) })),
        Err(error) => Some(unreadable(&path, error)),
    });
    Box::new(rows)
}

/// Everything up to the first error, which is the last: a reader that has failed once may fail for ever.
pub(super) fn until_error<T, E>(items: impl Iterator<Item = Result<T, E>>) -> impl Iterator<Item = Result<T, E>> {
    let mut failed = false;
    items.take_while(move |item| !std::mem::replace(&mut failed, item.is_err()))
}

fn text_row(line: Vec<u8>, at: At) -> Result<Row, BadRow> {
    let text = String::from_utf8(line)
        .map_err(|e| (String::from_utf8_lossy(e.as_bytes()).into_owned(), format!("{at}: not UTF-8: {e}")))?;
    Ok(Row { text, value: None, at })
}

fn read_csv(path: &Path, reader: Box<dyn BufRead + Send>) -> FileRows {
    let mut csv = csv::Reader::from_reader(reader);
    let headers = csv.headers().cloned();
    let path: Arc<Path> = path.into();
    let headers = match headers {
        Ok(headers) => headers,
        Err(error) => return one(unreadable(&path, error)),
    };
    Box::new(csv.into_records().enumerate().map(move |(index, record)| {
        let at = At { path: Arc::clone(&path), place: Place::Table(index + 1) };
        let record = record.map_err(|e| (String::new(), format!("{at}: {e}")))?;
        let fields = headers.iter().zip(&record).map(|(h, v)| (h.to_string(), Value::String(v.to_string())));
        let value = Value::Object(fields.collect::<Map<_, _>>());
        Ok(Row { text: value.to_string(), value: Some(value), at })
    }))
}

fn read_text(path: &Path, mut reader: Box<dyn BufRead + Send>) -> std::io::Result<FileRows> {
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let value = serde_json::json!({ "id": id, "text": text });
    let at = At { path: path.into(), place: Place::Whole };
    Ok(one(Ok(Row { text, value: Some(value), at })))
}
