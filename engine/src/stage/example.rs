//! Runs a stage on its examples: what it says that it makes is what it makes.

use std::sync::Arc;

use obvert_api::erased::Kind;
use obvert_api::frame::encode_invocation;
use obvert_api::{Error, Example, Json, Manifest, Operation, Outcome, Port, Reply};

use super::{Runner, Work, ask_one};

/// No stage that is sound asks more often.
const MOST_ROUNDS: usize = 64;

/// Whether the stage makes of an example what that says.
///
/// # Errors
/// It does not, or fails.
pub fn check(manifest: &Manifest, stage: &dyn Runner, example: &Example) -> Result<(), Error> {
    let records = read(stage, Port::In, &example.records)?;
    let with = read(stage, Port::With, &example.with)?;
    let item = match (manifest.kind, records.as_slice()) {
        (Kind::Map, [record]) => record.to_vec(),
        (Kind::Map, _) => return Err(Error::new("an example of a map has one record")),
        (Kind::Group, records) => group(stage, records, &with)?,
    };
    let made = run(stage, &item, &example.replies)?;
    let made = made.records.iter().map(|record| shown(stage, record)).collect::<Result<Vec<_>, _>>()?;
    if made == example.made {
        return Ok(());
    }
    let text = |records: &[Json]| serde_json::to_string(records).unwrap_or_default();
    Err(Error(format!("it makes {}, not {}", text(&made), text(&example.made))))
}

fn read(stage: &dyn Runner, port: Port, records: &[Json]) -> Result<Vec<Arc<[u8]>>, Error> {
    let read = |record: &Json| ask_one(stage, Operation::FromJson(port), record.0.to_string().as_bytes());
    records.iter().map(read).collect()
}

fn shown(stage: &dyn Runner, record: &[u8]) -> Result<Json, Error> {
    let text = ask_one(stage, Operation::ToJson(Port::Out), record)?;
    serde_json::from_slice(&text).map(Json).map_err(Error::new)
}

/// The group of records that are all of one key, and of side records.
fn group(stage: &dyn Runner, records: &[Arc<[u8]>], with: &[Arc<[u8]>]) -> Result<Vec<u8>, Error> {
    let keys = records.iter().map(|record| ask_one(stage, Operation::Key, record)).collect::<Result<Vec<_>, _>>()?;
    let key = keys.first().ok_or_else(|| Error::new("an example of a group has records"))?;
    if keys.iter().any(|other| other != key) {
        return Err(Error::new("the records of an example are of one group: these have several keys"));
    }
    let in_order = |records: &'_ [Arc<[u8]>]| {
        let mut records = records.to_vec();
        records.sort();
        records
    };
    let (records, with) = (in_order(records), in_order(with));
    let (records, with): (Vec<_>, Vec<_>) =
        (records.iter().map(|r| &**r).collect(), with.iter().map(|r| &**r).collect());
    encode_invocation(&String::from_utf8_lossy(key), &records, &with, &[])
}

/// The stage's last word on an item, with these replies to what it asks for.
fn run(stage: &dyn Runner, item: &[u8], texts: &[String]) -> Result<Outcome, Error> {
    let mut replies: Vec<Reply> = Vec::new();
    for _ in 0..=MOST_ROUNDS {
        let outcome = stage.run(&[Work { item, replies: &replies }]).pop();
        let outcome = outcome.unwrap_or_else(|| Err(Error::new("the stage gave no answer")))?;
        if outcome.requests.is_empty() {
            return Ok(outcome);
        }
        let new = texts.get(replies.len()..replies.len() + outcome.requests.len());
        let new = new.ok_or_else(|| Error::new("it asks for more replies than the example has"))?;
        let reply = |text: &String| Reply { text: text.clone(), prompt_tokens: 0, reply_tokens: 0, finished: true };
        replies.extend(new.iter().map(reply));
    }
    Err(Error(format!("it asks for replies {MOST_ROUNDS} times and still asks")))
}
