//! Sources: files of rows, as records of one type.
//!
//! A path is a `.jsonl` or `.csv` file, either of them gzipped, or a folder: there every `.jsonl` and `.csv` file is read
//! in the order of the names, and every `.txt` and `.md` file is one row `{"id": stem, "text": content}`.

mod known;
mod row;

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use obvert_api::record::{Correction, Persona, Profile, Veto};
use obvert_api::{Json, PathSetting, Record};
use obvert_engine::Registry;
use obvert_engine::registry::{BadRow, Entry, Row as Keyed, Rows, Source};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use row::{At, Place, Row, keyed};

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

/// Adds the sources `profiles`, `personas`, `corrections`, `vetoes` and `rows` (any JSON).
pub(crate) fn register(registry: &mut Registry) {
    add_source::<Profile>(registry, "profiles");
    add_source::<Persona>(registry, "personas");
    add_source::<Correction>(registry, "corrections");
    add_source::<Veto>(registry, "vetoes");
    add_source::<Json>(registry, "rows");
}

/// Adds a source of records of the type `R`, from files as all others are.
pub fn add_source<R: Record>(registry: &mut Registry, name: &str) {
    let entry = Entry::source::<R>(schemars::schema_for!(Files).to_value(), Arc::new(open::<R>));
    registry.add(name, entry);
}

fn open<R: Record>(settings: &Value) -> Result<Arc<dyn Source>, String> {
    let settings = Files::deserialize(settings).map_err(|e| e.to_string())?;
    Ok(Arc::new(FileSource { settings, read: keyed::<R> }))
}

/// Files of records of one type.
struct FileSource {
    settings: Files,
    read: fn(Result<Row, BadRow>) -> Keyed,
}

impl Source for FileSource {
    fn rows(&self) -> Result<Rows, String> {
        let (files, read) = (files(&self.settings.path.0)?, self.read);
        let rows = files.into_iter().flat_map(|file| self::read(&file).unwrap_or_else(|e| one(unreadable(&file, e))));
        let rows = rows.skip(self.settings.skip).take(self.settings.limit.unwrap_or(usize::MAX));
        Ok(Box::new(rows.map(read)))
    }

    fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in files(&self.settings.path.0).unwrap_or_default() {
            let known = std::fs::metadata(&file).map(|known| (known.len(), known.modified().ok()));
            (file, known.ok()).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The rows of one file.
type FileRows = Box<dyn Iterator<Item = Result<Row, BadRow>> + Send>;

fn one(row: Result<Row, BadRow>) -> FileRows {
    Box::new(std::iter::once(row))
}

fn unreadable(path: &Path, error: std::io::Error) -> Result<Row, BadRow> {
    Err((String::new(), format!("{}: {error}", path.display())))
}

/// The file, or a folder's files of known formats in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let unknown = || format!("{}: not a .jsonl, .csv, .txt or .md file (or one of them gzipped)", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return format(path).map(|_| vec![path.to_path_buf()]).ok_or_else(unknown);
    }
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let mut files = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    files.retain(|file| file.is_file() && format(file).is_some());
    files.sort();
    if files.is_empty() {
        Err(format!("{}: no .jsonl, .csv, .txt or .md file in it", path.display()))
    } else {
        Ok(files)
    }
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

fn read(path: &Path) -> std::io::Result<FileRows> {
    let reader = reader(path)?;
    match format(path) {
        Some(Format::Csv) => Ok(read_csv(path, reader)),
        Some(Format::Text) => read_text(path, reader),
        Some(Format::Jsonl) | None => Ok(read_jsonl(path, reader)),
    }
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
fn until_error<T, E>(items: impl Iterator<Item = Result<T, E>>) -> impl Iterator<Item = Result<T, E>> {
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
        Err(error) => return one(Err((String::new(), format!("{}: {error}", path.display())))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use obvert_api::erased::decode;
    use std::io::Write;

    /// The rows of a file of that name and content.
    fn rows<R: Record>(name: &str, content: &[u8]) -> Vec<Result<R, String>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), content).unwrap();
        let settings = serde_json::json!({ "path": folder.path() });
        let rows = open::<R>(&settings).unwrap().rows().unwrap();
        rows.map(|row| row.record.map(|bytes| decode(&bytes).unwrap()).map_err(|(_, cause)| cause)).collect()
    }

    #[test]
    fn json_lines_are_read_one_by_one_and_bad_ones_named() {
        let text = b"\xef\xbb\xbf{\"a\": NaN, \"b\": \"\\\": NaN\"}\n\n{\"a\"\n\"\xff\"\n3";
        let found = rows::<Json>("rows.jsonl", text);
        assert_eq!(found[0].as_ref().unwrap().0, serde_json::json!({ "a": null, "b": "\": NaN" }));
        assert!(found[1].as_ref().unwrap_err().contains("rows.jsonl:3: not JSON"), "{found:?}");
        assert!(found[2].as_ref().unwrap_err().contains("rows.jsonl:4: not UTF-8"), "{found:?}");
        assert_eq!(found[3].as_ref().unwrap().0, serde_json::json!(3));
    }

    #[test]
    fn tables_hold_records() {
        let text = b"id,text,queries\nu1,likes tea,\"[\"\"Hello\"\", \"\"Bye\"\"]\"\nu2,\"[sic]\"\n";
        let found = rows::<Persona>("personas.csv", text);
        let first = found[0].as_ref().unwrap();
        assert_eq!((first.text.as_str(), first.queries.len()), ("likes tea", 2));
        assert!(found[1].as_ref().unwrap_err().contains("row 2"), "{found:?}");
    }

    #[test]
    fn a_table_says_what_is_wrong() {
        let text = b"dialogue,turn,sample,constraint,satisfied,reason,response\n7,1,2,tea,false,\"no, it is\",\n\
            7,1,3,tea,,,Tea.\n7,1,x,tea,true,,\n";
        let found = rows::<Correction>("corrections.csv", text);
        let read = |row: &Result<Correction, String>| {
            row.as_ref().map(|c| (c.dialogue.clone(), c.sample, c.satisfied, c.response.clone())).ok()
        };
        assert_eq!(read(&found[0]), Some(("7".into(), 2, Some(false), None)));
        assert_eq!(read(&found[1]), Some(("7".into(), 3, None, Some("Tea.".into()))));
        assert!(found[2].as_ref().unwrap_err().contains("row 3: not a Correction"), "{found:?}");
    }

    #[test]
    fn a_text_file_is_a_profile_of_that_name() {
        let found = rows::<Profile>("guide.md", "You guide visitors.".as_bytes());
        let profile = found[0].as_ref().unwrap();
        assert_eq!((profile.id.as_str(), profile.system().as_str()), ("guide", "You guide visitors."));
    }

    #[test]
    fn what_cannot_be_a_source_is_named() {
        let opened = |path: &str| {
            let source = open::<Json>(&serde_json::json!({ "path": path })).unwrap();
            source.rows().err().unwrap()
        };
        assert!(opened("/nowhere/rows.jsonl").starts_with("/nowhere/rows.jsonl: "));
        let folder = tempfile::tempdir().unwrap();
        assert!(opened(folder.path().to_str().unwrap()).contains("no .jsonl"));
    }

    #[test]
    fn a_damaged_gzip_file_is_a_bad_row() {
        let found = rows::<Json>("rows.jsonl.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3]);
        assert!(found.len() == 1 && found[0].is_err(), "{found:?}");
        // Cut in half it still gives the rows of its first half.
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        (0..50_000).for_each(|n| writeln!(packed, "{}", n * 7919 % 10_007).unwrap());
        let packed = packed.finish().unwrap();
        let found = rows::<Json>("rows.jsonl.gz", &packed[..packed.len() / 2]);
        let (last, read) = found.split_last().unwrap();
        assert!(last.is_err() && read.len() > 1_000 && read[..read.len() - 1].iter().all(Result::is_ok), "{last:?}");
    }
}
