//! Items as JSON, for people.

use std::sync::Arc;

use obvert_api::{Operation, Port, frame};
use serde_json::{Value, json};

use crate::stage::{Runner, ask_one};

/// How to read a stage's items: its code, and whether they are groups.
pub(super) type Reader = (Arc<dyn Runner>, bool);

/// An item of a stage, or of a source where there is no reader.
pub(super) fn shown(reader: Option<&Reader>, item: &[u8]) -> Value {
    match reader {
        Some((runner, true)) => group(&**runner, item),
        Some((runner, false)) => record(&**runner, item),
        None => Value::String(String::from_utf8_lossy(item).into_owned()),
    }
}

fn group(runner: &dyn Runner, item: &[u8]) -> Value {
    // A record that has no key was set aside before there was a group.
    let Ok(group) = frame::decode_invocation(item) else {
        return record(runner, item);
    };
    json!({ "key": group.key, "records": group.records.iter().map(|r| record(runner, r)).collect::<Vec<_>>() })
}

fn record(runner: &dyn Runner, bytes: &[u8]) -> Value {
    let json = ask_one(runner, Operation::ToJson(Port::In), bytes).ok();
    let json = json.and_then(|text| serde_json::from_slice(&text).ok());
    json.unwrap_or_else(|| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
