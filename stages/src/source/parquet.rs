//! The rows of a Parquet file as JSON, page by page: no row group is held as a whole.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::ConvertedType;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use obvert_api::abi::reason_of;
use serde_json::Value;

use super::file::{FileRows, one, unreadable, until_error};
use super::row::{At, Place, Row};

/// The rows of a file; where it is damaged, the last one says so.
pub(super) fn read(path: &Path) -> FileRows {
    let mut rows = match guarded(|| open(path)) {
        Ok(rows) => rows,
        Err(error) => return one(unreadable(path, error)),
    };
    let path: Arc<Path> = path.into();
    let values = std::iter::from_fn(move || guarded(|| rows.next().transpose()).transpose());
    Box::new(until_error(values).enumerate().map(move |(index, value)| {
        let at = At { path: Arc::clone(&path), place: Place::Table(index + 1) };
        let value: Value = value.map_err(|e| (String::new(), format!("{at}: {e}")))?.to_json_value();
        Ok(Row { text: value.to_string(), value: Some(value), at })
    }))
}

fn open(path: &Path) -> Result<RowIter<'static>> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    // What the reader has no value for ends the program.
    if let Some(column) = schema.columns().iter().find(|column| column.converted_type() == ConvertedType::INTERVAL) {
        return Err(ParquetError::NYI(format!("the column `{}` holds intervals", column.path().string())));
    }
    Ok(RowIter::from_file_into(Box::new(reader)))
}

/// Some damaged pages are met by the reader with a panic.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| Err(ParquetError::General(reason_of(panic.as_ref()).0)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use ::parquet::basic::Compression;
    use ::parquet::file::properties::WriterProperties;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
    use arrow_schema::{DataType, Field};
    use serde_json::json;

    use super::*;
    use crate::output::{jsonl, parquet};
    use crate::train::tests::pair;

    /// The rows of a file, each as JSON or as the reason why it is none.
    fn rows(path: &Path) -> Vec<std::result::Result<Value, String>> {
        read(path).map(|row| row.map(|row| row.value.unwrap()).map_err(|(_, cause)| cause)).collect()
    }

    /// Five rows in groups of two, of columns that may be null.
    fn table(compression: Compression) -> (tempfile::TempDir, std::path::PathBuf) {
        let ids = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(5)])) as ArrayRef;
        let texts =
            Arc::new(StringArray::from(vec![Some("tea"), Some(""), None, Some("\u{1f600}"), Some("x")])) as ArrayRef;
        let inner = StructArray::from(vec![(Arc::new(Field::new("text", DataType::Utf8, true)), texts.clone())]);
        let columns = [("id", ids), ("text", texts), ("inner", Arc::new(inner) as ArrayRef)];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).set_compression(compression);
        let mut writer =
            ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        (folder, path)
    }

    #[test]
    fn rows_are_those_that_were_written() {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(Default::default())] {
            let (_folder, path) = table(compression);
            let found = rows(&path).into_iter().collect::<std::result::Result<Vec<_>, _>>().unwrap();
            assert_eq!((found.len(), &found[0]), (5, &json!({"id": 1, "text": "tea", "inner": {"text": "tea"}})));
            assert_eq!(found[1]["id"], Value::Null);
            assert_eq!(found[3]["inner"]["text"], "\u{1f600}");
        }
    }

    #[test]
    fn pairs_are_those_of_the_lines() {
        let folder = tempfile::tempdir().unwrap();
        let [lines, path] = ["pairs.jsonl", "pairs.parquet"].map(|name| folder.path().join(name));
        let pairs = || (0..5).map(|n| Ok(pair(&format!("p{n}"), "d")));
        jsonl::write_pairs(&lines, pairs()).unwrap();
        parquet::write_pairs(&path, pairs()).unwrap();
        let text = std::fs::read_to_string(&lines).unwrap();
        let expected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows(&path).into_iter().map(std::result::Result::unwrap).collect::<Vec<_>>(), expected);
    }

    /// Wherever it is damaged, a file gives rows and at most one reason, which names it.
    #[test]
    fn a_damaged_file_says_so() {
        let (_folder, path) = table(Compression::SNAPPY);
        let whole = std::fs::read(&path).unwrap();
        let assert_told = |bytes: &[u8], always: bool| {
            std::fs::write(&path, bytes).unwrap();
            let found = rows(&path);
            let bad: Vec<&String> = found.iter().filter_map(|row| row.as_ref().err()).collect();
            assert!(
                bad.len() <= 1
                    && found.iter().rposition(std::result::Result::is_err).is_none_or(|at| at + 1 == found.len())
            );
            assert!(bad.iter().all(|cause| cause.contains("rows.parquet: ")) && !(always && bad.is_empty()), "{bad:?}");
        };
        (0..whole.len()).step_by(7).for_each(|length| assert_told(&whole[..length], true));
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            assert_told(&bytes, false);
        }
        assert_told(b"{\"id\": 1}\n{\"id\": 2}\n", true);
    }
}
