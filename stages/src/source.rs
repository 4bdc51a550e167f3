//! Sources: files of rows, as records of one type.
//!
//! A path is a `.jsonl`, `.csv` or `.parquet` file, the first two gzipped or not, or a folder. In a folder that is laid out as a
//! Hugging Face data set the files of one split are read; in any other every `.jsonl` and `.csv` file in the order of the names,
//! and every `.txt` and `.md` file is one row `{"id": stem, "text": content}`.

mod card;
mod file;
mod folder;
mod glob;
mod known;
#[cfg(feature = "parquet")]
mod parquet;
mod row;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obvert_api::record::{Correction, Persona, Profile, Veto, draw};
use obvert_api::{Json, PathSetting, Record};
use obvert_engine::Registry;
use obvert_engine::registry::{BadRow, Entry, Row as Keyed, Rows, Source};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use file::Format;
use row::{Row, keyed};

/// Settings of every file source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Files {
    /// The file or folder to read.
    path: PathSetting,
    /// The split of a folder that is laid out as a Hugging Face data set; `train` by default, where there are splits.
    split: Option<String>,
    /// The configuration of such a folder's card, where that has several.
    config: Option<String>,
    /// Share of the rows that is drawn, by what each is known by and `run.seed`; the others are left out.
    #[schemars(range(min = 0.0, max = 1.0))]
    share: Option<f64>,
    /// Rows to read at most.
    limit: Option<usize>,
    /// Rows to skip first.
    #[serde(default)]
    skip: usize,
}

impl Files {
    /// The file, or those of the folder that are meant.
    fn files(&self) -> Result<Vec<PathBuf>, String> {
        let path = &self.path.0;
        let failed = |cause: String| format!("{}: {cause}", path.display());
        if std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.is_dir() {
            return folder::files(path, self.split.as_deref(), self.config.as_deref());
        }
        if self.split.is_some() || self.config.is_some() {
            return Err(failed("`split` and `config` are settings for a folder".into()));
        }
        Format::of(path).map(|_| vec![path.clone()]).ok_or_else(|| failed(format!("not a {} file", file::KNOWN)))
    }
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

/// All rows of a file as JSON, as a source reads them.
///
/// # Errors
/// The file is none that can be read, or the first row that cannot be; names both.
pub fn read_rows(path: &Path) -> Result<Vec<Value>, String> {
    if Format::of(path).is_none() || !path.is_file() {
        return Err(format!("{}: not a {} file that is there", path.display(), file::KNOWN));
    }
    file::read(path)
        .map(|row| row.and_then(Row::parsed).map(|(_, value, _)| value).map_err(|(_, cause)| cause))
        .collect()
}

fn open<R: Record>(settings: &Value, seed: u64) -> Result<Arc<dyn Source>, String> {
    let settings = Files::deserialize(settings).map_err(|e| e.to_string())?;
    Ok(Arc::new(FileSource { settings, seed: seed.to_string(), read: keyed::<R> }))
}

/// A number from 0 to 1 for a row, the same however the rows around it change.
fn drawn(row: &Keyed, seed: &str) -> f64 {
    draw(&["row", &String::from_utf8_lossy(&row.key), seed])
}

/// Files of records of one type.
struct FileSource {
    settings: Files,
    /// Of the draw of rows.
    seed: String,
    read: fn(Result<Row, BadRow>) -> Keyed,
}

impl Source for FileSource {
    fn rows(&self) -> Result<Rows, String> {
        let Files { share, skip, limit, .. } = self.settings;
        let (files, read, seed) = (self.settings.files()?, self.read, self.seed.clone());
        let rows = files.into_iter().flat_map(|file| file::read(&file)).skip(skip).map(read);
        let drawn = move |row: &Keyed| share.is_none_or(|share| drawn(row, &seed) < share);
        Ok(Box::new(rows.filter(drawn).take(limit.unwrap_or(usize::MAX))))
    }

    fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in self.settings.files().unwrap_or_default() {
            let known = std::fs::metadata(&file).map(|known| (known.len(), known.modified().ok()));
            (file, known.ok()).hash(&mut hasher);
        }
        hasher.finish()
    }
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
        let rows = open::<R>(&settings, 0).unwrap().rows().unwrap();
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
    fn a_share_of_the_rows_is_drawn_each_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = |ids: std::ops::Range<u32>, seed: u64, limit: usize| -> Vec<Vec<u8>> {
            let text: String = ids.map(|id| format!("{{\"id\": {id}}}\n")).collect();
            std::fs::write(folder.path().join("rows.jsonl"), text).unwrap();
            let settings = serde_json::json!({ "path": folder.path(), "share": 0.25, "limit": limit });
            open::<Json>(&settings, seed).unwrap().rows().unwrap().map(|row| row.key).collect()
        };
        let all = drawn(0..1000, 0, 1000);
        assert!((200..300).contains(&all.len()), "{}", all.len());
        let later = drawn(500..1000, 0, 1000);
        assert!(all.ends_with(&later), "rows that go take no others with them");
        assert_ne!(drawn(0..1000, 1, 1000), all);
        assert_eq!(drawn(0..1000, 0, 10), all[..10]);
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
            let source = open::<Json>(&serde_json::json!({ "path": path }), 0).unwrap();
            source.rows().err().unwrap()
        };
        assert!(opened("/nowhere/rows.jsonl").starts_with("/nowhere/rows.jsonl: "));
        let folder = tempfile::tempdir().unwrap();
        assert!(opened(folder.path().to_str().unwrap()).contains("no .jsonl"));
    }

    #[test]
    fn nulls_are_nothing_where_a_record_has_no_place_for_them() {
        let text = br#"{"id": "u1", "text": "likes tea", "queries": null}"#;
        assert_eq!(rows::<Persona>("personas.jsonl", text)[0].as_ref().unwrap().queries.len(), 0);
        let kept = rows::<Json>("rows.jsonl", text);
        assert!(
            kept[0].as_ref().unwrap().0["queries"].is_null() && kept[0].as_ref().unwrap().0.get("queries").is_some()
        );
    }

    /// What is read changes with the files of the split, the card, and files that come.
    #[test]
    fn a_stamp_is_that_of_the_files_that_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        write("data/train-00000-of-00001.parquet", "a");
        let source = open::<Json>(&serde_json::json!({ "path": folder.path() }), 0).unwrap();
        let mut before = source.stamp();
        let mut changed = |name: &str, text: &str| {
            write(name, text);
            std::mem::replace(&mut before, source.stamp()) != before
        };
        assert!(changed("data/train-00000-of-00001.parquet", "ab"));
        assert!(!changed("data/test-00000-of-00001.parquet", "a") && !changed("README.md", "# Data"));
        assert!(changed("README.md", "---\nconfigs:\n- config_name: x\n  data_files: data/*\n---\n"));
        assert!(changed("data/more.parquet", "a"));
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
