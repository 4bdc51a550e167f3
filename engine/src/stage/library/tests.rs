//! Both sides of the border in one process, without a library's file: so Miri can look at it.
//! `cargo +nightly miri test -p obvert-engine --lib -- stage::library` with `MIRIFLAGS=-Zmiri-disable-isolation`.

use std::path::Path;
use std::sync::Arc;

use obvert_api::chain::Links;
use obvert_api::erased::encode;
use obvert_api::record::Message;
use obvert_api::{Error, Group, Json, Map, Nothing, Operation, Outcome, Output, Reply, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Library, describe};
use crate::stage::chain::Batch;
use crate::stage::{Chain, Runner, Work};

/// Does what its record says, so many times.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Obey {
    times: usize,
}

impl Map for Obey {
    const NAME: &'static str = "obey";
    type In = Json;
    type Out = Json;

    fn validate(&self) -> Result<(), Error> {
        if self.times < 9 { Ok(()) } else { Err(Error::new("too many `times`")) }
    }

    fn map(&self, Json(row): Json, replies: &[Reply], out: &mut Output<Json>) -> Result<(), Error> {
        match row["do"].as_str() {
            Some("ask") if replies.is_empty() => out.request(Request::new("m", vec![Message::new("user", "?")])),
            Some("ask") => out.emit(Json(json!(replies[0].text))),
            Some("fail") => return Err(Error::new("told to")),
            Some("panic") => panic!("told to"),
            _ => (0..self.times).for_each(|_| out.emit(Json(row.clone()))),
        }
        Ok(())
    }
}

/// The number of rows of a kind.
#[derive(Deserialize, JsonSchema)]
struct Count {}

impl Group for Count {
    const NAME: &'static str = "count";
    type In = Json;
    type With = Nothing;
    type Out = Json;

    fn key(&self, Json(row): &Json) -> String {
        row["do"].to_string()
    }

    fn group(
        &self,
        key: &str,
        rows: Vec<Json>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Json>,
    ) -> Result<(), Error> {
        out.emit(Json(json!([key, rows.len()])));
        Ok(())
    }
}

obvert_api::plugin!(Obey, Count);

fn library(index: u32) -> Library {
    // SAFETY: it may be called at any time.
    describe(unsafe { obvert_plugin_v1(index) }, "build", Path::new("linked")).unwrap()
}

fn stage(index: u32, settings: Value) -> Arc<dyn Runner> {
    library(index).create(&settings).unwrap()
}

fn row(value: Value) -> Vec<u8> {
    encode(&Json(value)).unwrap()
}

fn made(outcome: &Result<Outcome, Error>) -> Result<Vec<Vec<u8>>, &str> {
    outcome.as_ref().map(|outcome| outcome.records.iter().map(|r| r.to_vec()).collect()).map_err(|Error(e)| e.as_str())
}

#[test]
fn every_item_has_its_own_end() {
    let stage = stage(0, json!({ "times": 2 }));
    let rows = ["go", "fail", "panic", "ask"].map(|what| row(json!({ "do": what })));
    let reply = [Reply { text: "yes".into(), prompt_tokens: 1, reply_tokens: 1, finished: true }];
    let mut work: Vec<_> = rows.iter().map(|row| Work { item: row, replies: &[] }).collect();
    work.push(Work { item: &rows[3], replies: &reply });
    work.push(Work { item: b"\xff", replies: &[] });
    let outcomes = stage.run(&work);
    assert_eq!(made(&outcomes[0]), Ok(vec![rows[0].clone(), rows[0].clone()]));
    assert_eq!(made(&outcomes[1]), Err("told to"));
    assert_eq!(made(&outcomes[2]), Err("panicked: told to"));
    assert_eq!(outcomes[3].as_ref().unwrap().requests[0].messages[0].content, "?");
    assert_eq!(made(&outcomes[4]), Ok(vec![row(json!("yes"))]));
    assert!(made(&outcomes[5]).unwrap_err().contains("not a Json"));
}

#[test]
fn settings_are_refused_with_the_reason() {
    for (settings, reason) in [(json!({ "times": 9 }), "too many `times`"), (json!({}), "missing field `times`")] {
        assert_eq!(library(0).create(&settings).err().map(|Error(reason)| reason), Some(reason.into()));
    }
    // SAFETY: as above.
    assert!(unsafe { obvert_plugin_v1(2) }.is_null());
}

#[test]
fn keys_and_texts_are_told() {
    let (group, go) = (stage(1, json!({})), row(json!({ "do": "go" })));
    let told = group.ask(Operation::Key, &[&go, b"\xff"]);
    assert_eq!(made(&told[0]), Ok(vec![b"\"go\"".to_vec()]));
    assert!(told[1].is_err());
    let text = group.ask(Operation::ToJson(obvert_api::Port::In), &[&go]);
    assert_eq!(made(&text[0]), Ok(vec![br#"{"do":"go"}"#.to_vec()]));
}

#[test]
fn a_chain_that_does_not_add_up_is_not_believed() {
    let keys: Option<(&[u8], _)> = Some((b"k", None));
    // Of two items and two maps: what they made of each, and the records that came out.
    type Said<'a> = (&'a [u32], &'a [(u32, bool)]);
    let adds_up = |(made, passed): Said<'_>, grouped: bool| {
        let mut batch = Batch::of(2);
        batch.refuse(1);
        Links::made(&mut batch, made);
        passed.iter().for_each(|(item, keyed)| batch.record(*item, b"record", keys.filter(|_| *keyed)));
        batch.adds_up(2, grouped)
    };
    let sound: Said<'_> = (&[1, 9, 2, 9], &[(0, false), (1, true), (0, false)]);
    assert!(adds_up(sound, false) && adds_up((&[1, 0, 1, 0], &[(0, true)]), true) && adds_up((&[0; 4], &[]), false));
    assert!(!adds_up(sound, true), "no keys");
    let unsound: [Said<'_>; 6] = [
        (&[], &[]),
        (&[1, 0, 1], &[(0, false)]),
        (&[1, 0, 1, 0], &[]),
        (&[1, 0, 1, 0], &[(0, false), (0, false)]),
        (&[1, 0, 1, 0], &[(0, true)]),
        (&[1, 0, 1, 0], &[(0, false), (2, false)]),
    ];
    unsound.into_iter().for_each(|said| assert!(!adds_up(said, false), "{said:?}"));
}

#[test]
fn a_chain_says_what_came_of_each_item() {
    let maps = vec![stage(0, json!({ "times": 2 })), stage(0, json!({ "times": 1 }))];
    let rows = ["go", "fail"].map(|what| row(json!({ "do": what })));
    let batch = Chain::of(maps, Some(stage(1, json!({})))).unwrap().run(&[&rows[0], &rows[1]]).unwrap();
    assert_eq!((batch.refused.as_slice(), batch.passed.len()), ([false, true].as_slice(), 2));
    assert!(batch.passed.iter().all(|passed| passed.item == 0 && *passed.record == *rows[0]));
    assert_eq!(batch.passed[0].keys.as_ref().map(|(key, _)| key.as_slice()), Some(b"\"go\"".as_slice()));
    assert_eq!(batch.made().collect::<Vec<_>>(), [[2, 0], [2, 0]]);
}
