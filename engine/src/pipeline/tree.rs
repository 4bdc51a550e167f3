//! The file's values with their places, `--set` arguments among them.

use std::ops::Range;

use serde_json::{Number, Value as Json};
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::place::Place;

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
    /// What JSON, and so a setting, cannot hold; the text says what it is.
    Unfit(&'static str),
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

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.key.as_str())
    }

    /// The table without some keys.
    pub fn without(&self, keys: &[&str]) -> Table {
        Table(self.0.iter().filter(|entry| !keys.contains(&entry.key.as_str())).cloned().collect())
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

    /// The value's type as JSON schema calls it, or what it is instead.
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::String(_) => "string",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::Boolean(_) => "boolean",
            Value::Array(_) => "array",
            Value::Table(_) => "object",
            Value::Unfit(what) => what,
        }
    }

    pub fn json(&self) -> Json {
        match &self.value {
            Value::String(text) => Json::String(text.clone()),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Boolean(boolean) => Json::Bool(*boolean),
            Value::Unfit(_) => Json::Null,
            Value::Array(items) => items.iter().map(Node::json).collect(),
            Value::Table(table) => table.0.iter().map(|entry| (entry.key.clone(), entry.node.json())).collect(),
        }
    }
}

/// Reads parsed TOML, whose places `place` tells from spans. Tables are in the order in which they were written.
pub(super) fn read_table(table: &DeTable<'_>, place: &dyn Fn(Range<usize>) -> Place) -> Table {
    let entry = |(key, value): (&Spanned<DeString<'_>>, _)| Entry {
        key: key.get_ref().to_string(),
        key_place: place(key.span()),
        node: read_node(value, place),
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    entries.sort_by(|a, b| a.key_place.cmp(&b.key_place));
    Table(entries)
}

/// Reads a parsed TOML value.
pub(super) fn read_node(node: &Spanned<DeValue<'_>>, place: &dyn Fn(Range<usize>) -> Place) -> Node {
    let value = match node.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => number(integer),
        DeValue::Float(float) => real(float.as_str()),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Unfit("a date or time"),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| read_node(item, place)).collect()),
        DeValue::Table(table) => Value::Table(read_table(table, place)),
    };
    Node { place: place(node.span()), value }
}

fn number(integer: &DeInteger<'_>) -> Value {
    let (digits, radix) = (integer.as_str(), integer.radix());
    let signed = i64::from_str_radix(digits, radix).map(Number::from);
    let number = signed.or_else(|_| u64::from_str_radix(digits, radix).map(Number::from));
    number.map_or(Value::Unfit("an integer beyond 64 bits"), Value::Number)
}

fn real(text: &str) -> Value {
    let float: Option<f64> = text.parse().ok();
    float.and_then(Number::from_f64).map_or(Value::Unfit("inf or nan"), Value::Number)
}
