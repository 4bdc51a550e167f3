//! A row of a file as a record, and what it is known by.

use std::path::Path;
use std::sync::Arc;

use obvert_api::Record;
use obvert_api::erased::encode;
use obvert_engine::registry::{BadRow, Row as Keyed};
use serde_json::Value;

use super::known;

/// A row with what it is known by: its `id`, or its text where it has none.
pub(super) fn keyed<R: Record>(row: Result<Row, BadRow>) -> Keyed {
    if let Some(keyed) = row.as_ref().ok().and_then(plain::<R>) {
        return keyed;
    }
    let row = row.and_then(Row::parsed);
    let key = match &row {
        Ok((text, value, _)) => match value.get("id") {
            Some(id @ (Value::String(_) | Value::Number(_))) => id.to_string(),
            _ => text.clone(),
        },
        Err((text, _)) => text.clone(),
    };
    Keyed { key: key.into_bytes(), record: row.and_then(record::<R>) }
}

/// A line that is a record as it stands, as most are.
fn plain<R: Record>(row: &Row) -> Option<Keyed> {
    let None = row.value else { return None };
    let (record, id) = known::read::<R>(&row.text).ok()?;
    let record = encode(&record).ok()?;
    Some(Keyed { key: id.unwrap_or_else(|| row.text.clone()).into_bytes(), record: Ok(record) })
}

/// A row as it stood, and where.
pub(super) struct Row {
    pub(super) text: String,
    /// As JSON; where there is none, the text is.
    pub(super) value: Option<Value>,
    pub(super) at: At,
}

/// Where a row stood.
pub(super) struct At {
    pub(super) path: Arc<Path>,
    pub(super) place: Place,
}

pub(super) enum Place {
    Whole,
    Line(usize),
    Table(usize),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.display();
        match self.place {
            Place::Whole => write!(f, "{path}"),
            Place::Line(line) => write!(f, "{path}:{line}"),
            Place::Table(row) => write!(f, "{path}: row {row}"),
        }
    }
}

impl Row {
    /// With its value.
    pub(super) fn parsed(self) -> Result<(String, Value, At), BadRow> {
        let Row { text, value, at } = self;
        if let Some(value) = value {
            return Ok((text, value, at));
        }
        match serde_json::from_str(&text).or_else(|e| serde_json::from_str(&without_nan(&text)).or(Err(e))) {
            Ok(value) => Ok((text, value, at)),
            Err(error) => Err((text, format!("{at}: not JSON: {error}"))),
        }
    }
}

fn record<R: Record>((text, value, at): (String, Value, At)) -> Result<Vec<u8>, BadRow> {
    // A table's cells are texts; where the record wants more than that, those that hold JSON stand for it, or a number is read.
    let typed = serde_json::from_value::<R>(value.clone()).or_else(|error| {
        serde_json::from_value(full(unfolded(value.clone()))).ok().or_else(|| cells(&value)).ok_or(error)
    });
    let record = typed.map_err(|e| format!("{at}: not a {}: {e}", R::NAME));
    record.and_then(|record| encode(&record).map_err(|e| format!("{at}: {e}"))).map_err(|cause| (text, cause))
}

/// A record of numbers, truth values and texts; an empty cell is no value.
fn cells<R: Record>(row: &Value) -> Option<R> {
    let fields = row.as_object()?;
    let (names, cells) = (fields.keys().collect(), fields.values().map(Value::as_str).collect::<Option<_>>()?);
    csv::StringRecord::deserialize(&cells, Some(&names)).ok()
}

fn unfolded(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let cell = |value: Value| match value.as_str().map(serde_json::from_str) {
        Some(Ok(inner @ (Value::Array(_) | Value::Object(_)))) => inner,
        _ => value,
    };
    Value::Object(fields.into_iter().map(|(key, value)| (key, cell(value))).collect())
}

/// Without nulls: tables have every column in every row, and a null where there is nothing.
fn full(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, full(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(full).collect(),
        other => other,
    }
}

/// Python writes a missing number as NaN, which is not JSON; it stands for null. Strings stay as they are.
fn without_nan(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, part) in quoted(text).into_iter().enumerate() {
        out.push_str(&if index % 2 == 0 { part.replace("NaN", "null").into() } else { std::borrow::Cow::from(part) });
    }
    out
}

/// The text cut at its string literals: what is outside of them has even indices.
fn quoted(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut inside, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => {
                parts.push(&text[start..at]);
                (start, inside) = (at, !inside);
            }
            _ => {}
        }
        escaped = byte == b'\\' && inside && !escaped;
    }
    parts.push(&text[start..]);
    parts
}
