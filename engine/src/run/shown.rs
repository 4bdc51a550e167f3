//! Items as JSON, for people.

use std::sync::Arc;

use obvert_api::{Operation, Port, frame};
use serde_json::{Value, json};

use crate::ToJson;
use crate::dataflow::Applied;
use crate::stage::{Runner, ask_one};

/// How to read what comes to a stage.
pub(super) enum Reader {
    /// Records, by the stage's code.
    Records(Arc<dyn Runner>),
    /// Groups.
    Groups(Arc<dyn Runner>),
    /// Records, as those show them who made them.
    Made(ToJson),
}

impl Reader {
    /// Of a stage with code.
    pub(super) fn of(applied: &Applied) -> Reader {
        let runner = Arc::clone(&applied.runner);
        if applied.grouped.is_some() { Reader::Groups(runner) } else { Reader::Records(runner) }
    }
}

/// An item of a stage, or of a source where there is no reader.
pub(super) fn shown(reader: Option<&Reader>, item: &[u8]) -> Value {
    match reader {
        Some(Reader::Groups(runner)) => group(&**runner, item),
        Some(Reader::Records(runner)) => record(&**runner, item),
        Some(Reader::Made(to_json)) => parsed(to_json(item).ok().as_deref(), item),
        None => parsed(None, item),
    }
}

/// The JSON of an item; its bytes as a text where it is none.
fn parsed(json: Option<&[u8]>, item: &[u8]) -> Value {
    let json = json.and_then(|text| serde_json::from_slice(text).ok());
    json.unwrap_or_else(|| Value::String(String::from_utf8_lossy(item).into_owned()))
}

fn group(runner: &dyn Runner, item: &[u8]) -> Value {
    // A record that has no key was set aside before there was a group.
    let Ok(group) = frame::decode_invocation(item) else {
        return record(runner, item);
    };
    json!({ "key": group.key, "records": group.records.iter().map(|r| record(runner, r)).collect::<Vec<_>>() })
}

fn record(runner: &dyn Runner, bytes: &[u8]) -> Value {
    parsed(ask_one(runner, Operation::ToJson(Port::In), bytes).ok().as_deref(), bytes)
}
