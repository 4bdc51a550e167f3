//! Sources: files of rows, as records of one type.
//!
//! A path is a `.jsonl` or `.csv` file, either of them gzipped, or a folder: there every `.jsonl` and `.csv` file is read
//! in the order of the names, and every `.txt` and `.md` file is one row `{"id": stem, "text": content}`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use obvert_api::erased::encode;
use obvert_api::record::{Persona, Profile};
use obvert_api::{Json, PathSetting, Record};
use obvert_engine::Registry;
use obvert_engine::registry::{BadRow, Body, Entry, Rows};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Settings of every file source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Files {
    /// The file or folder to read.
    path: PathSetting,
    /// Rows to read at most.
    limit: Option<usize>,
    /// Rows to skip first.
    #[serde(default)]
    skip: usize,
}

/// Adds the sources `profiles`, `personas` and `rows` (any JSON).
pub(crate) fn register(registry: &mut Registry) {
    add::<Profile>(registry, "profiles");
    add::<Persona>(registry, "personas");
    add::<Json>(registry, "rows");
}

fn add<R: Record>(registry: &mut Registry, name: &str) {
    let entry = Entry {
        body: Body::Source(Arc::new(|settings, _| open::<R>(settings))),
        input: None,
        with: None,
        output: Some(R::NAME.into()),
        schema: schemars::schema_for!(Files).to_value(),
        closes_loop: false,
        admits: false,
        origin: "built in".into(),
    };
    registry.add(name, entry);
}

fn open<R: Record>(settings: &Value) -> Result<Rows, String> {
    let settings = Files::deserialize(settings).map_err(|e| e.to_string())?;
    let mut rows: Vec<Row> = Vec::new();
    for file in files(&settings.path.0)? {
        rows.extend(read(&file)?);
    }
    let rows = rows.into_iter().skip(settings.skip).take(settings.limit.unwrap_or(usize::MAX));
    Ok(Box::new(rows.map(|row| row.and_then(|(text, value, at)| record::<R>(&text, value, &at)))))
}

/// A row as it stood, as JSON, and where it stood.
type Row = Result<(String, Value, String), BadRow>;

fn record<R: Record>(text: &str, value: Value, at: &str) -> Result<Vec<u8>, BadRow> {
    let bad = |cause: String| (text.to_string(), format!("{at}: not a {}: {cause}", R::NAME));
    let record: R = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
    encode(&record).map_err(|e| bad(e.0))
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let mut files = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    files.retain(|file| file.is_file() && format(file).is_some());
    files.sort();
    Ok(files)
}

#[derive(Clone, Copy)]
enum Format {
    Jsonl,
    Csv,
    Text,
}

fn format(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    match name.rsplit_once('.')?.1 {
        "jsonl" | "json" | "ndjson" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        "txt" | "md" => Some(Format::Text),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Vec<Row>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let format = format(path)
        .ok_or_else(|| format!("{}: not a .jsonl, .csv, .txt or .md file (or one of them gzipped)", path.display()))?;
    let reader = reader(path).map_err(failed)?;
    match format {
        Format::Jsonl => read_jsonl(path, reader).map_err(failed),
        Format::Csv => Ok(read_csv(path, reader)),
        Format::Text => read_text(path, reader).map_err(failed),
    }
}

/// The file's text, unpacked if it begins as gzip does.
fn reader(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    let zipped = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if zipped { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) })
}

fn read_jsonl(path: &Path, reader: Box<dyn BufRead>) -> std::io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = line?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let at = format!("{}:{}", path.display(), index + 1);
        if text.trim().is_empty() {
            continue;
        }
        // Python writes a missing number as NaN, which is not JSON: it is read as null.
        rows.push(match serde_json::from_str(&text.replace(": NaN", ": null")) {
            Ok(value) => Ok((text, value, at)),
            Err(error) => Err((text, format!("{at}: not JSON: {error}"))),
        });
    }
    Ok(rows)
}

fn read_csv(path: &Path, reader: Box<dyn BufRead>) -> Vec<Row> {
    let mut csv = csv::Reader::from_reader(reader);
    let headers = csv.headers().cloned().unwrap_or_default();
    let row = |(index, record): (usize, Result<csv::StringRecord, csv::Error>)| {
        let at = format!("{}: row {}", path.display(), index + 1);
        let record = record.map_err(|e| (String::new(), format!("{at}: {e}")))?;
        let fields = headers.iter().zip(&record).map(|(h, v)| (h.to_string(), Value::String(v.to_string())));
        let value = Value::Object(fields.collect::<Map<_, _>>());
        Ok((value.to_string(), value, at))
    };
    csv.records().enumerate().map(row).collect()
}

fn read_text(path: &Path, mut reader: Box<dyn BufRead>) -> std::io::Result<Vec<Row>> {
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let value = serde_json::json!({ "id": id, "text": text });
    Ok(vec![Ok((text, value, path.display().to_string()))])
}
