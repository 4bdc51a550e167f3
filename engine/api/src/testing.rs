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

use crate::erased::{Erased, Kind, create_group, create_map, decode, encode};
use crate::example::{Examined, check, groups, last_word};
use crate::{Error, Group, Invocation, Map, Operation, Outcome, Record, Reply, Request};

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
    mut answer: impl FnMut(&Request) -> Result<String, Error>,
) -> Result<Made<M::Out>, Error> {
    made(last_word(&Pure::map::<M>(&settings)?, &whole(&record)?, &mut answer)?)
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
    let stage = Pure::group::<G>(&settings)?;
    let records = records.iter().map(|record| whole(record).map(Into::into)).collect::<Result<_, _>>()?;
    let with = with.iter().map(|record| whole(record).map(Into::into)).collect::<Result<Vec<_>, _>>()?;
    let groups = groups(&stage, records, &with)?.into_iter();
    groups.map(|(key, item)| Ok((key, made(last_word(&stage, &item, &mut answer)?)?))).collect()
}

/// Whether a map makes of its [`Map::examples`] what they say.
///
/// # Errors
/// It does not; or the contract is broken.
pub fn examples<M: Map>() -> Result<(), Error> {
    M::examples().iter().try_for_each(|example| check(&Pure::map::<M>(&example.settings.0)?, example))
}

/// Whether a group makes of its [`Group::examples`] what they say.
///
/// # Errors
/// As for [`examples`].
pub fn group_examples<G: Group>() -> Result<(), Error> {
    G::examples().iter().try_for_each(|example| check(&Pure::group::<G>(&example.settings.0)?, example))
}

/// A stage that is held to its contract: it makes the same of the same.
struct Pure(Kind, Box<dyn Erased>);

impl Pure {
    fn map<M: Map>(settings: &Value) -> Result<Self, Error> {
        Ok(Pure(Kind::Map, create_map::<M>(settings)?))
    }

    fn group<G: Group>(settings: &Value) -> Result<Self, Error> {
        Ok(Pure(Kind::Group, create_group::<G>(settings)?))
    }
}

impl Examined for Pure {
    fn kind(&self) -> Kind {
        self.0
    }

    fn run(&self, item: &[u8], replies: &[Reply]) -> Result<Outcome, Error> {
        let invocation = Invocation::of(self.0, item, replies.to_vec())?;
        let [mut outcome, mut again] = [Outcome::default(), Outcome::default()];
        self.1.run(&invocation, &mut outcome)?;
        self.1.run(&invocation, &mut again)?;
        if outcome == again {
            return Ok(outcome);
        }
        Err(Error::new("a second run on the same item made something else: a stage is a pure function"))
    }

    fn ask(&self, operation: Operation, record: &[u8]) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        self.1.ask(operation, record, &mut outcome).map(|()| outcome)
    }
}

fn made<T: Record>((outcome, requests): (Outcome, Vec<Request>)) -> Result<Made<T>, Error> {
    let records = outcome.records.iter().map(|record| decode(record)).collect::<Result<_, _>>()?;
    Ok(Made { records, requests })
}

/// A record's bytes, if they say all of it.
fn whole<R: Record>(record: &R) -> Result<Vec<u8>, Error> {
    let bytes = encode(record)?;
    let again = encode(&decode::<R>(&bytes)?)?;
    if again == bytes { Ok(bytes) } else { Err(Error(format!("a {} is another one once it was encoded", R::NAME))) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{Json, Output};

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
