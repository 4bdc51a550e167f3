//! Rows as Parquet, under a schema without nulls.

use std::path::Path;

use arrow_array::{ArrayRef, Int32Array};
use arrow_schema::{ArrowError, DataType, Schema};
use std::sync::Arc;

use super::row::Row;
use crate::output::Error;
use crate::output::parquet::{self, field, list, lists, message, messages, texts};

/// Writes all rows.
///
/// # Errors
/// The first row that could not be read; what the writer or the file system reports.
pub(super) fn write(path: &Path, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<(), Error> {
    let fields = vec![
        field("prompt", list(message())),
        field("chosen", list(message())),
        field("rejected", list(message())),
        field("margin_g", DataType::Int32),
        field("id", DataType::Utf8),
        field("dialogue", DataType::Utf8),
        field("reversed", list(DataType::Utf8)),
    ];
    parquet::write(path, Schema::new(fields), rows, columns)
}

fn columns(rows: &[Row]) -> Result<Vec<ArrayRef>, ArrowError> {
    let said = |of: fn(&Row) -> &Vec<obvert_api::record::Message>| {
        messages(rows.iter().map(|row| of(row).iter().map(|m| (&*m.role, &*m.content)).collect()).collect())
    };
    let reversed = texts(rows.iter().flat_map(|row| &row.reversed).map(String::as_str));
    Ok(vec![
        said(|row| &row.prompt)?,
        said(|row| &row.chosen)?,
        said(|row| &row.rejected)?,
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.margin_g))),
        texts(rows.iter().map(|row| &*row.id)),
        texts(rows.iter().map(|row| &*row.dialogue)),
        lists(rows.iter().map(|row| row.reversed.len()), reversed)?,
    ])
}
