//! Runs a stage by itself in a test: settings and records in, scripted replies, records and requests out. No engine, no loading.
//!
//! It goes the way that the engine goes, through bytes and back, and holds the stage to its contract: settings are read as a
//! pipeline's are, records have to survive their encoding, and a second run on the same item has to make the same.
//!
//! ```
//! use obvert_api::testing::{map, replies};
//! use obvert_api::{Error, Json, Map, Output, Reply, Request, schemars::JsonSchema, serde::Deserialize};
//! use obvert_api::record::Message;
//! use obvert_api::serde_json::json;
//!
//! /// Asks a model for a title.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "obvert_api::serde", deny_unknown_fields)]
//! #[schemars(crate = "obvert_api::schemars")]
//! struct Title {
//!     model: obvert_api::ModelName,
//! }
//!
//! impl Map for Title {
//!     const NAME: &'static str = "title";
//!     type In = Json;
//!     type Out = Json;
//!
//!     fn map(&self, mut row: Json, replies: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
//!         match replies {
//!             [] => out.request(Request::new(&self.model.0, vec![Message::new("user", row.0["text"].to_string())])),
//!             [title, ..] => {
//!                 row.0["title"] = title.text.clone().into();
//!                 out.emit(row);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let made = map::<Title>(json!({ "model": "strong" }), Json(json!({ "text": "Once." })), replies(["A tale"]))?;
//! assert_eq!(made.records[0].0["title"], "A tale");
//! assert_eq!(made.requests[0].model, "strong");
//! # Ok::<(), Error>(())
//! ```

use std::collections::BTreeMap;

use serde_json::Value;

use crate::erased::{Erased, create_group, create_map, decode, encode};
use crate::frame::{decode_invocation, encode_invocation};
use crate::{Error, Example, Group, Json, Map, Operation, Outcome, Record, Reply, Request};

/// How often a stage may ask before it is taken to ask for ever; the engine's limit.
const MOST_ROUNDS: usize = 64;

/// What a stage made of an item, and what it had asked for until then.
#[derive(Clone, Debug, PartialEq)]
pub struct Made<T> {
    /// The records.
    pub records: Vec<T>,
    /// The requests, in order.
    pub requests: Vec<Request>,
}

/// Answers requests with these texts, one after the other; behind the last one with an error.
pub fn replies<'a>(texts: impl IntoIterator<Item = &'a str>) -> impl FnMut(&Request) -> Result<String, Error> {
    let mut texts: std::vec::IntoIter<String> = texts.into_iter().map(str::to_owned).collect::<Vec<_>>().into_iter();
    move |_| texts.next().ok_or_else(|| Error::new("the stage asks for more replies than the test has"))
}

/// Runs a map on a record; `answer` stands for the models.
///
/// # Errors
/// The stage refuses its settings or fails on the record, `answer` fails, or the contract is broken.
pub fn map<M: Map>(
    settings: Value,
    record: M::In,
    answer: impl FnMut(&Request) -> Result<String, Error>,
) -> Result<Made<M::Out>, Error> {
    let stage = create_map::<M>(&settings)?;
    run(&*stage, &encode_invocation("", &[&whole(&record)?], &[], &[])?, answer)
}

/// Runs a group stage on records and side records, group by group, in the order of the keys.
///
/// # Errors
/// As for [`map`].
pub fn group<G: Group>(
    settings: Value,
    records: Vec<G::In>,
    with: Vec<G::With>,
    mut answer: impl FnMut(&Request) -> Result<String, Error>,
) -> Result<BTreeMap<String, Made<G::Out>>, Error> {
    let stage = create_group::<G>(&settings)?;
    let records = records.iter().map(|record| {
        let bytes = whole(record)?;
        Ok((keys(&*stage, Operation::Key, &bytes)?, bytes))
    });
    let with = with.iter().map(|record| {
        let bytes = whole(record)?;
        Ok((keys(&*stage, Operation::WithKey, &bytes)?, bytes))
    });
    let with = with.collect::<Result<Vec<_>, Error>>()?;
    let mut groups: BTreeMap<String, (Vec<Vec<u8>>, Vec<String>)> = BTreeMap::new();
    for record in records {
        let (mut keys, bytes) = record?;
        let wants = keys.split_off(1.min(keys.len()));
        if let Some(key) = keys.pop() {
            let group = groups.entry(key).or_default();
            group.0.push(bytes);
            group.1.extend(wants);
        }
    }
    let run_one = |(key, (mut records, wants)): (String, (Vec<Vec<u8>>, Vec<String>))| {
        records.sort();
        let wanted = |(keys, _): &&(Vec<String>, Vec<u8>)| keys.first().is_some_and(|key| wants.contains(key));
        let mut sides: Vec<&[u8]> = with.iter().filter(wanted).map(|(_, bytes)| bytes.as_slice()).collect();
        sides.sort();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let made = run(&*stage, &encode_invocation(&key, &records, &sides, &[])?, &mut answer)?;
        Ok((key, made))
    };
    groups.into_iter().map(run_one).collect()
}

/// Whether a map makes of its [`Map::examples`] what they say.
///
/// # Errors
/// It does not; or the contract is broken.
pub fn examples<M: Map>() -> Result<(), Error> {
    M::examples().iter().try_for_each(|example| {
        let [record] = example.records.as_slice() else { return Err(Error::new("an example of a map has one record")) };
        let record = serde_json::from_value(record.0.clone()).map_err(Error::new)?;
        let made = map::<M>(example.settings.0.clone(), record, replies(example.replies.iter().map(String::as_str)))?;
        same(made.records, example)
    })
}

/// Whether a group makes of its [`Group::examples`] what they say.
///
/// # Errors
/// As for [`examples`].
pub fn group_examples<G: Group>() -> Result<(), Error> {
    G::examples().iter().try_for_each(|example| {
        let answer = replies(example.replies.iter().map(String::as_str));
        let made = group::<G>(example.settings.0.clone(), read(&example.records)?, read(&example.with)?, answer)?;
        if made.len() != 1 {
            return Err(Error(format!("the records of an example are of one group: these are of {}", made.len())));
        }
        same(made.into_values().flat_map(|made| made.records).collect(), example)
    })
}

fn read<R: Record>(records: &[Json]) -> Result<Vec<R>, Error> {
    records.iter().map(|record| serde_json::from_value(record.0.clone()).map_err(Error::new)).collect()
}

fn same<R: Record>(made: Vec<R>, example: &Example) -> Result<(), Error> {
    let shown = |record: &R| serde_json::to_value(record).map(Json).map_err(Error::new);
    let made = made.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    if made == example.made { Ok(()) } else { Err(Error(format!("it makes {made:?}, not {:?}", example.made))) }
}

/// A record's bytes, if they say all of it.
fn whole<R: Record>(record: &R) -> Result<Vec<u8>, Error> {
    let bytes = encode(record)?;
    let again = encode(&decode::<R>(&bytes)?)?;
    if again == bytes { Ok(bytes) } else { Err(Error(format!("a {} is another one once it was encoded", R::NAME))) }
}

fn keys(stage: &dyn Erased, operation: Operation, record: &[u8]) -> Result<Vec<String>, Error> {
    let mut told = Outcome::default();
    stage.ask(operation, record, &mut told)?;
    Ok(told.records.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect())
}

fn run<T: Record>(
    stage: &dyn Erased,
    payload: &[u8],
    mut answer: impl FnMut(&Request) -> Result<String, Error>,
) -> Result<Made<T>, Error> {
    let mut item = decode_invocation(payload)?;
    let mut requests = Vec::new();
    for _ in 0..=MOST_ROUNDS {
        let [mut outcome, mut again] = [Outcome::default(), Outcome::default()];
        stage.run(&item, &mut outcome)?;
        stage.run(&item, &mut again)?;
        if outcome != again {
            return Err(Error::new("a second run on the same item made something else: a stage is a pure function"));
        }
        if outcome.requests.is_empty() {
            let records = outcome.records.iter().map(|record| decode(record)).collect::<Result<_, _>>()?;
            return Ok(Made { records, requests });
        }
        for request in outcome.requests {
            let text = answer(&request)?;
            item.replies.push(Reply { text, prompt_tokens: 0, reply_tokens: 0, finished: true });
            requests.push(request);
        }
    }
    Err(Error(format!("it asked for replies {MOST_ROUNDS} times and still asks")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::Output;

    /// Adds up the numbers of a topic, and what the side records of its first letter say.
    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Sum {}

    impl Group for Sum {
        const NAME: &'static str = "sum";
        type In = Json;
        type With = Json;
        type Out = Json;
        fn key(&self, row: &Json) -> String {
            row.0["topic"].as_str().unwrap_or_default().into()
        }
        fn looks_up(&self, row: &Json) -> Option<String> {
            self.key(row).get(..1).map(str::to_owned)
        }
        fn with_key(&self, row: &Json) -> String {
            row.0["letter"].as_str().unwrap_or_default().into()
        }
        fn group(
            &self,
            key: &str,
            rows: Vec<Json>,
            with: Vec<Json>,
            replies: &[Reply],
            out: &mut Output<Json>,
        ) -> Result<(), Error> {
            if replies.len() < with.len() {
                out.request(Request::new("m", Vec::new()));
                return Ok(());
            }
            let sum: i64 = rows.iter().chain(&with).filter_map(|row| row.0["n"].as_i64()).sum();
            out.emit(Json(
                json!({ "topic": key, "sum": sum, "said": replies.iter().map(|r| &r.text).collect::<Vec<_>>() }),
            ));
            Ok(())
        }
    }

    static RUNS: AtomicU32 = AtomicU32::new(0);

    /// Not pure, or asks for ever.
    #[derive(Deserialize, JsonSchema)]
    struct Odd {
        asks: bool,
    }

    impl Map for Odd {
        const NAME: &'static str = "odd";
        type In = Json;
        type Out = Json;
        fn map(&self, _: Json, _: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
            if self.asks {
                out.request(Request::new("m", Vec::new()));
            } else {
                out.emit(Json(json!(RUNS.fetch_add(1, Relaxed))));
            }
            Ok(())
        }
    }

    #[test]
    fn groups_meet_their_side_records() {
        let rows = [json!({"topic": "ab", "n": 1}), json!({"topic": "b", "n": 5}), json!({"topic": "ab", "n": 2})];
        let with = vec![Json(json!({"letter": "a", "n": 10})), Json(json!({"letter": "c", "n": 100}))];
        let made = group::<Sum>(json!({}), rows.map(Json).into(), with, replies(["yes"])).unwrap();
        let shown: Vec<_> =
            made.iter().map(|(key, made)| (key.as_str(), &made.records[0].0, made.requests.len())).collect();
        let (ab, b) = (json!({"topic": "ab", "sum": 13, "said": ["yes"]}), json!({"topic": "b", "sum": 5, "said": []}));
        assert_eq!(shown, [("ab", &ab, 1), ("b", &b, 0)]);
    }

    #[test]
    fn what_breaks_the_contract_is_told() {
        let run = |asks| map::<Odd>(json!({ "asks": asks }), Json(json!({})), |_| Ok("more".into())).unwrap_err().0;
        assert!(run(false).contains("pure function") && run(true).contains("still asks"));
        let refused = group::<Sum>(json!({ "more": 1 }), Vec::new(), Vec::new(), replies([])).unwrap_err();
        assert!(refused.0.contains("unknown field `more`"), "{refused}");
        let rows = vec![Json(json!({"topic": "a"}))];
        let few = group::<Sum>(json!({}), rows.clone(), vec![Json(json!({"letter": "a"}))], replies([])).unwrap_err();
        assert!(few.0.contains("more replies than the test has"), "{few}");
    }
}
