//! Pairs as Parquet: the columns of the JSON lines under an explicit schema, so that no reader has to guess a type.

use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, BooleanArray, Int32Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use obvert_api::record::Pair;

use super::row::{ConstraintRow, Provenance, Row};
use super::{Error, atomic};

/// Rows turned into arrays at a time: bounds what is held beside the pairs, and the 2 GiB of one text column.
const ROWS_PER_BATCH: usize = 1024;

/// Bytes of a row group, encoded: what the writer holds until it ends the group.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Writes all pairs, compressed with zstd. No column is nullable; integers are 32 bits wide.
///
/// # Errors
/// The first pair that could not be read; what the writer or the file system reports.
pub fn write_pairs(path: &Path, pairs: impl IntoIterator<Item = Result<Pair, Error>>) -> Result<(), Error> {
    write(path, schema(), pairs, columns)
}

/// Writes rows of any kind, of which `columns` makes arrays.
pub(super) fn write<R>(
    path: &Path,
    schema: Schema,
    rows: impl IntoIterator<Item = Result<R, Error>>,
    columns: impl Fn(&[R]) -> Result<Vec<ArrayRef>, ArrowError>,
) -> Result<(), Error> {
    let level = ZstdLevel::try_new(3).map_err(Error::parquet(path))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let schema = Arc::new(schema);
    atomic::write(path, |out| {
        let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(Error::parquet(path))?;
        let mut rows = rows.into_iter();
        loop {
            let some = rows.by_ref().take(ROWS_PER_BATCH).collect::<Result<Vec<R>, Error>>()?;
            if some.is_empty() {
                break;
            }
            let batch = columns(&some).and_then(|columns| RecordBatch::try_new(schema.clone(), columns));
            writer.write(&batch.map_err(Error::parquet(path))?).map_err(Error::parquet(path))?;
            if writer.in_progress_size() >= ROW_GROUP_BYTES {
                writer.flush().map_err(Error::parquet(path))?;
            }
        }
        writer.close().map(drop).map_err(Error::parquet(path))
    })
}

/// The columns, in the order of `Row`.
fn schema() -> Schema {
    Schema::new(vec![
        field("prompt", list(message())),
        field("chosen", list(message())),
        field("rejected", list(message())),
        field("id", DataType::Utf8),
        field("g", DataType::Int32),
        field("case", DataType::Int32),
        field("margin_g", DataType::Int32),
        field("dialogue", DataType::Utf8),
        field("turn", DataType::Int32),
        field("profile", DataType::Utf8),
        field("reversed", list(DataType::Utf8)),
        field("constraints", list(DataType::Struct(constraint_fields()))),
        field("provenance", DataType::Struct(provenance_fields())),
    ])
}

pub(super) fn field(name: &str, of: DataType) -> Field {
    Field::new(name, of, false)
}

/// `element` is the name that the Parquet format gives to a list's values.
pub(super) fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(field("element", of)))
}

pub(super) fn message() -> DataType {
    DataType::Struct(message_fields())
}

fn message_fields() -> Fields {
    Fields::from(vec![field("role", DataType::Utf8), field("content", DataType::Utf8)])
}

fn constraint_fields() -> Fields {
    Fields::from(vec![
        field("id", DataType::Utf8),
        field("text", DataType::Utf8),
        field("original", DataType::Utf8),
        field("reversed", DataType::Boolean),
        field("active", DataType::Boolean),
        field("chosen", DataType::Utf8),
        field("rejected", DataType::Utf8),
    ])
}

fn provenance_fields() -> Fields {
    Fields::from(vec![
        field("chosen_model", DataType::Utf8),
        field("chosen_sample", DataType::Int32),
        field("chosen_finished", DataType::Boolean),
        field("rejected_model", DataType::Utf8),
        field("rejected_sample", DataType::Int32),
        field("rejected_finished", DataType::Boolean),
    ])
}

fn columns(pairs: &[Pair]) -> Result<Vec<ArrayRef>, ArrowError> {
    let rows: Vec<Row> = pairs.iter().map(Row::from).collect();
    let prompts = rows.iter().map(|r| r.prompt.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect());
    Ok(vec![
        messages(prompts.collect())?,
        messages(rows.iter().map(|r| r.chosen.iter().map(|m| (m.role, m.content)).collect()).collect())?,
        messages(rows.iter().map(|r| r.rejected.iter().map(|m| (m.role, m.content)).collect()).collect())?,
        texts(rows.iter().map(|r| r.id)),
        integers(rows.iter().map(|r| r.g))?,
        integers(rows.iter().map(|r| u32::from(r.case)))?,
        integers(rows.iter().map(|r| r.margin_g))?,
        texts(rows.iter().map(|r| r.dialogue)),
        integers(rows.iter().map(|r| r.turn))?,
        texts(rows.iter().map(|r| r.profile)),
        lists(rows.iter().map(|r| r.reversed.len()), texts(rows.iter().flat_map(|r| r.reversed.iter().copied())))?,
        lists(rows.iter().map(|r| r.constraints.len()), constraints(rows.iter().flat_map(|r| &r.constraints))?)?,
        provenance(rows.iter().map(|r| &r.provenance))?,
    ])
}

pub(super) fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn integers(values: impl Iterator<Item = u32>) -> Result<ArrayRef, ArrowError> {
    let wide = |v: u32| i32::try_from(v).map_err(|_| ArrowError::CastError(format!("{v} does not fit 32 signed bits")));
    Ok(Arc::new(Int32Array::from(values.map(wide).collect::<Result<Vec<_>, _>>()?)))
}

/// Splits `values` into consecutive lists of the given lengths.
pub(super) fn lists(lengths: impl Iterator<Item = usize>, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let element = Arc::new(field("element", values.data_type().clone()));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(element, offsets, values, None)?))
}

/// One list of (role, content) per row.
pub(super) fn messages(rows: Vec<Vec<(&str, &str)>>) -> Result<ArrayRef, ArrowError> {
    let all = || rows.iter().flatten();
    let columns = vec![texts(all().map(|m| m.0)), texts(all().map(|m| m.1))];
    let values = StructArray::try_new(message_fields(), columns, None)?;
    lists(rows.iter().map(Vec::len), Arc::new(values))
}

fn constraints<'a>(all: impl Iterator<Item = &'a ConstraintRow<'a>> + Clone) -> Result<ArrayRef, ArrowError> {
    let columns: Vec<ArrayRef> = vec![
        texts(all.clone().map(|c| c.id)),
        texts(all.clone().map(|c| c.text)),
        texts(all.clone().map(|c| c.original)),
        booleans(all.clone().map(|c| c.reversed)),
        booleans(all.clone().map(|c| c.active)),
        texts(all.clone().map(|c| c.chosen)),
        texts(all.map(|c| c.rejected)),
    ];
    Ok(Arc::new(StructArray::try_new(constraint_fields(), columns, None)?))
}

fn booleans(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<BooleanArray>())
}

fn provenance<'a>(all: impl Iterator<Item = &'a Provenance<'a>> + Clone) -> Result<ArrayRef, ArrowError> {
    let columns = vec![
        texts(all.clone().map(|p| p.chosen_model)),
        integers(all.clone().map(|p| p.chosen_sample))?,
        booleans(all.clone().map(|p| p.chosen_finished)),
        texts(all.clone().map(|p| p.rejected_model)),
        integers(all.clone().map(|p| p.rejected_sample))?,
        booleans(all.map(|p| p.rejected_finished)),
    ];
    Ok(Arc::new(StructArray::try_new(provenance_fields(), columns, None)?))
}
