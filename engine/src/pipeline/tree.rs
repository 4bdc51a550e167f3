//! The file's values with their places: TOML without dates, and with `--set` already applied.

use std::ops::Range;

use serde_json::{Number, Value as Json};
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::place::Place;
use super::report::Problem;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Number(Number),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
}

/// A table, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub Vec<Entry>);

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_place: Place,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    /// The table under `key`, if it is one.
    pub fn table(&self, key: &str) -> Option<&Table> {
        self.get(key)?.node.table()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.key.as_str())
    }

    /// The table without some keys.
    pub fn without(&self, keys: &[&str]) -> Table {
        Table(
            self.0
                .iter()
                .filter(|entry| !keys.contains(&entry.key.as_str()))
                .cloned()
                .collect(),
        )
    }
}

impl Node {
    pub fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value's type as JSON schema calls it.
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::String(_) => "string",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::Boolean(_) => "boolean",
            Value::Array(_) => "array",
            Value::Table(_) => "object",
        }
    }

    pub fn json(&self) -> Json {
        match &self.value {
            Value::String(text) => Json::String(text.clone()),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Boolean(boolean) => Json::Bool(*boolean),
            Value::Array(items) => items.iter().map(Node::json).collect(),
            Value::Table(table) => table
                .0
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.json()))
                .collect(),
        }
    }
}

/// Reads parsed TOML; what settings cannot hold becomes a problem.
pub(super) struct Reader<'p> {
    /// The index of the `--set` argument that is read; `None` for the file.
    pub argument: Option<usize>,
    pub problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    /// The table's entries in the order in which they were written.
    pub fn table(&mut self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<Entry> = table
            .iter()
            .filter_map(|(key, value)| self.entry(key, value))
            .collect();
        entries.sort_by(|a, b| a.key_place.cmp(&b.key_place));
        Table(entries)
    }

    fn entry(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Entry> {
        let key_place = self.place(key.span());
        Some(Entry {
            key: key.get_ref().to_string(),
            key_place,
            node: self.node(value)?,
        })
    }

    pub fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Node> {
        let place = self.place(value.span());
        let read = match value.get_ref() {
            DeValue::String(text) => Ok(Value::String(text.to_string())),
            DeValue::Integer(integer) => number(integer).map(Value::Number),
            DeValue::Float(float) => real(float.as_str()).map(Value::Number),
            DeValue::Boolean(boolean) => Ok(Value::Boolean(*boolean)),
            DeValue::Datetime(_) => {
                Err("a setting cannot be a date or time: write it as a string".to_owned())
            }
            DeValue::Array(items) => Ok(Value::Array(
                items.iter().filter_map(|item| self.node(item)).collect(),
            )),
            DeValue::Table(table) => Ok(Value::Table(self.table(table))),
        };
        match read {
            Ok(value) => Some(Node { place, value }),
            Err(message) => {
                self.problems.push(Problem::new(&place, message));
                None
            }
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        self.argument.map_or_else(|| span.into(), Place::Argument)
    }
}

fn number(integer: &DeInteger<'_>) -> Result<Number, String> {
    let signed = i64::from_str_radix(integer.as_str(), integer.radix()).map(Number::from);
    let number = signed
        .or_else(|_| u64::from_str_radix(integer.as_str(), integer.radix()).map(Number::from));
    number.map_err(|_| format!("the integer {integer} does not fit in 64 bits"))
}

fn real(text: &str) -> Result<Number, String> {
    let float: Option<f64> = text.parse().ok();
    float
        .and_then(Number::from_f64)
        .ok_or_else(|| format!("a setting cannot be {text}: it must be a finite number"))
}
