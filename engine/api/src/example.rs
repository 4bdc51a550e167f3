//! Runs a stage on a few items, wherever it is: in a test, in the program, or behind the border.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::erased::Kind;
use crate::frame::encode_invocation;
use crate::stage::MOST_ROUNDS;
use crate::{Error, Example, Json, Operation, Outcome, Port, Reply, Request};

/// A created stage.
pub trait Examined {
    /// Map or group.
    fn kind(&self) -> Kind;
    /// Runs it on an item, a record of a map or a group that was encoded without replies, with the replies so far.
    ///
    /// # Errors
    /// It fails on the item.
    fn run(&self, item: &[u8], replies: &[Reply]) -> Result<Outcome, Error>;
    /// Performs another operation on a record.
    ///
    /// # Errors
    /// It fails on the record.
    fn ask(&self, operation: Operation, record: &[u8]) -> Result<Outcome, Error>;
}

/// A record, encoded.
type Bytes = Arc<[u8]>;

/// Whether the stage makes of an example what that says.
///
/// # Errors
/// It does not, or fails.
pub fn check(stage: &dyn Examined, example: &Example) -> Result<(), Error> {
    let records = read(stage, Port::In, &example.records)?;
    let with = read(stage, Port::With, &example.with)?;
    let mut texts = example.replies.iter();
    let mut answer =
        |_: &Request| texts.next().cloned().ok_or_else(|| Error::new("it asks for more replies than the example has"));
    let (outcome, _) = last_word(stage, &item(stage, records, &with)?, &mut answer)?;
    let made = outcome.records.iter().map(|record| shown(stage, record)).collect::<Result<Vec<_>, _>>()?;
    if made == example.made {
        return Ok(());
    }
    let text = |records: &[Json]| serde_json::to_string(records).unwrap_or_default();
    Err(Error(format!("it makes {}, not {}", text(&made), text(&example.made))))
}

/// The one item that an example is about.
fn item(stage: &dyn Examined, mut records: Vec<Bytes>, with: &[Bytes]) -> Result<Vec<u8>, Error> {
    if stage.kind() == Kind::Map {
        let record = records.pop().filter(|_| records.is_empty());
        return record.map(|record| record.to_vec()).ok_or_else(|| Error::new("an example of a map has one record"));
    }
    let mut groups = groups(stage, records, with)?.into_values();
    let group = groups.next().filter(|_| groups.len() == 0);
    group.ok_or_else(|| Error::new("the records of an example are of one group"))
}

/// The groups of records, each with the side records that it looks up, as items.
pub(crate) fn groups(
    stage: &dyn Examined,
    records: Vec<Bytes>,
    with: &[Bytes],
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut groups: BTreeMap<String, (Vec<Bytes>, Vec<String>)> = BTreeMap::new();
    for record in records {
        let mut keys = keys(stage, Operation::Key, &record)?.into_iter();
        if let Some(key) = keys.next() {
            let group = groups.entry(key).or_default();
            group.0.push(record);
            group.1.extend(keys);
        }
    }
    let side = |record: &Bytes| Ok((keys(stage, Operation::WithKey, record)?.into_iter().next(), record.clone()));
    let sides = with.iter().map(side).collect::<Result<Vec<_>, Error>>()?;
    let encoded = |(key, (mut records, wants)): (String, (Vec<Bytes>, Vec<String>))| {
        let wanted = sides.iter().filter(|(key, _)| key.as_ref().is_some_and(|key| wants.contains(key)));
        let mut with: Vec<&[u8]> = wanted.map(|(_, record)| &**record).collect();
        with.sort();
        records.sort();
        let records: Vec<&[u8]> = records.iter().map(|record| &**record).collect();
        let item = encode_invocation(&key, &records, &with, &[])?;
        Ok((key, item))
    };
    groups.into_iter().map(encoded).collect()
}

fn keys(stage: &dyn Examined, operation: Operation, record: &[u8]) -> Result<Vec<String>, Error> {
    let keys = stage.ask(operation, record)?.records;
    Ok(keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect())
}

/// What comes of an item in the end, and all that it has asked for.
pub(crate) fn last_word(
    stage: &dyn Examined,
    item: &[u8],
    answer: &mut dyn FnMut(&Request) -> Result<String, Error>,
) -> Result<(Outcome, Vec<Request>), Error> {
    let (mut replies, mut requests) = (Vec::new(), Vec::new());
    for _ in 0..=MOST_ROUNDS {
        let outcome = stage.run(item, &replies)?;
        if outcome.requests.is_empty() {
            return Ok((outcome, requests));
        }
        for request in outcome.requests {
            let text = answer(&request)?;
            replies.push(Reply { text, prompt_tokens: 0, reply_tokens: 0, finished: true });
            requests.push(request);
        }
    }
    Err(Error(format!("it asked for replies {MOST_ROUNDS} times and still asks")))
}

fn read(stage: &dyn Examined, port: Port, records: &[Json]) -> Result<Vec<Bytes>, Error> {
    let read = |record: &Json| told(stage, Operation::FromJson(port), record.0.to_string().as_bytes());
    records.iter().map(read).collect()
}

fn shown(stage: &dyn Examined, record: &[u8]) -> Result<Json, Error> {
    serde_json::from_slice(&told(stage, Operation::ToJson(Port::Out), record)?).map(Json).map_err(Error::new)
}

fn told(stage: &dyn Examined, operation: Operation, record: &[u8]) -> Result<Bytes, Error> {
    stage.ask(operation, record)?.records.pop().ok_or_else(|| Error::new("the stage gave no answer"))
}
