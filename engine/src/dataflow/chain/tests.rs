//! Stages as one operator and as several: the same records, counts and rejections.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use obvert_api::erased::{create_group, create_map, decode, encode, group_manifest, map_manifest};
use obvert_api::{Error, Group, Map, Nothing, Output, Record, Reply};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dataflow::{Change, Poll, Settled, View, Waker};
use crate::pipeline::parse;
use crate::registry::{Entry, Registry, Row, Rows, Source};
use crate::run::{Options, run};

#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Number(u64);

impl Record for Number {
    const NAME: &'static str = "Number";
}

macro_rules! map {
    ($stage:ident, $name:literal, $work:expr) => {
        #[derive(Deserialize, JsonSchema)]
        struct $stage {}

        impl Map for $stage {
            const NAME: &'static str = $name;
            type In = Number;
            type Out = Number;
            fn map(&self, Number(n): Number, _: &[Reply], out: &mut Output<Number>) -> Result<(), Error> {
                let work: fn(u64, &mut Output<Number>) -> Result<(), Error> = $work;
                work(n, out)
            }
        }
    };
}

map!(Spread, "spread", |n, out| {
    [n, n + 1000].into_iter().for_each(|n| out.emit(Number(n)));
    Ok(())
});
map!(Pick, "pick", |n, out| {
    if n % 7 > 0 {
        out.emit(Number(n));
    }
    match n {
        n if n % 5 == 0 => Err(Error(format!("{n} is by five"))),
        n if n % 11 == 0 => panic!("{n} is by eleven"),
        _ => Ok(()),
    }
});
map!(Plus, "plus", |n, out| {
    out.emit(Number(n + 1));
    Ok(())
});

#[derive(Deserialize, JsonSchema)]
struct Total {}

impl Group for Total {
    const NAME: &'static str = "total";
    type In = Number;
    type With = Nothing;
    type Out = Number;
    fn key(&self, Number(n): &Number) -> String {
        assert!(n % 13 > 0, "{n} is by thirteen");
        (n % 3).to_string()
    }
    fn group(
        &self,
        _: &str,
        numbers: Vec<Number>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Number>,
    ) -> Result<(), Error> {
        out.emit(Number(numbers.iter().map(|Number(n)| n).sum()));
        Ok(())
    }
}

/// One row that says nothing.
struct Once;

impl Source for Once {
    fn rows(&self) -> Result<Rows, String> {
        let row = Row { key: Vec::new(), record: Ok(encode(&Number(0)).map_err(|e| e.0)?) };
        Ok(Box::new(std::iter::once(row)))
    }
    fn stamp(&self) -> u64 {
        0
    }
}

/// Rows of a hundred kilobytes, each of which is a group.
struct Long;

impl Source for Long {
    fn rows(&self) -> Result<Rows, String> {
        let row = |n: u64| Row {
            key: n.to_le_bytes().to_vec(),
            record: encode(&Text(n, "x".repeat(100_000))).map_err(|e| (String::new(), e.0)),
        };
        Ok(Box::new((0..50).map(row)))
    }
    fn stamp(&self) -> u64 {
        0
    }
}

#[derive(Serialize, Deserialize)]
struct Text(u64, String);

impl Record for Text {
    const NAME: &'static str = "Text";
}

#[derive(Deserialize, JsonSchema)]
struct Lengths {}

impl Group for Lengths {
    const NAME: &'static str = "lengths";
    type In = Text;
    type With = Nothing;
    type Out = Number;
    fn key(&self, Text(n, _): &Text) -> String {
        n.to_string()
    }
    fn group(
        &self,
        _: &str,
        texts: Vec<Text>,
        _: Vec<Nothing>,
        _: &[Reply],
        out: &mut Output<Number>,
    ) -> Result<(), Error> {
        texts.iter().for_each(|Text(n, text)| out.emit(Number(*n * 1_000_000 + text.len() as u64)));
        Ok(())
    }
}

/// Tells numbers, and takes some of them back.
#[derive(Default)]
struct Teller {
    waker: Option<Waker>,
    told: u32,
}

impl View for Teller {
    fn start(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        self.told += u32::from(!changes.is_empty());
        Ok(())
    }
    fn poll(&mut self) -> Result<Poll, String> {
        let numbers = |numbers: &mut dyn Iterator<Item = u64>| numbers.map(|n| encode(&Number(n)).unwrap()).collect();
        let nothing = Poll::default();
        let poll = match self.told {
            1 => Poll { records: numbers(&mut (0..500)), busy: true, ..nothing },
            2 => Poll { withdrawn: numbers(&mut (0..500).filter(|n| n % 4 == 0)), ..nothing },
            _ => return Ok(nothing),
        };
        self.told += 1;
        self.waker.iter().for_each(Waker::wake);
        Ok(poll)
    }
}

/// What a view holds in the end.
type Held = Arc<Mutex<BTreeMap<u64, isize>>>;

struct Holder(Held);

impl View for Holder {
    fn update(&mut self, changes: Vec<Change>, _: Settled) -> Result<(), String> {
        let mut held = self.0.lock().unwrap();
        for change in changes {
            let Number(n) = decode(&change.record).map_err(|e| e.0)?;
            *held.entry(n).or_default() += change.diff;
        }
        held.retain(|_, copies| *copies != 0);
        Ok(())
    }
}

fn registry(held: &Held) -> Registry {
    let mut registry = Registry::new();
    let any = || json!({ "type": "object" });
    registry
        .add("once", Entry::source::<Number>(any(), Arc::new(|_: &Value, _| Ok(Arc::new(Once) as Arc<dyn Source>))));
    let open = Arc::new(|_: &_, _: &_| Ok(Box::new(Teller::default()) as Box<dyn View>));
    registry.add("teller", Entry { output: Some("Number".into()), ..Entry::view("Number", any(), open) });
    let held = Arc::clone(held);
    let open = Arc::new(move |_: &_, _: &_| Ok(Box::new(Holder(Arc::clone(&held))) as Box<dyn View>));
    registry.add("holder", Entry::view("Number", any(), open));
    let open = Arc::new(|_: &_, _: &_| Ok(Box::new(Holder(Held::default())) as Box<dyn View>));
    registry.add("other", Entry::view("Number", any(), open));
    registry.add_linked((map_manifest::<Spread>(""), create_map::<Spread>));
    registry.add_linked((map_manifest::<Pick>(""), create_map::<Pick>));
    registry.add_linked((map_manifest::<Plus>(""), create_map::<Plus>));
    registry.add_linked((group_manifest::<Total>(""), create_group::<Total>));
    registry.add("long", Entry::source::<Text>(any(), Arc::new(|_: &Value, _| Ok(Arc::new(Long) as Arc<dyn Source>))));
    registry.add_linked((group_manifest::<Lengths>(""), create_group::<Lengths>));
    registry
}

/// Records, counts by stage, and rejections.
type Found = (BTreeMap<u64, isize>, Vec<(String, [i64; 4])>, Vec<String>);

/// What comes of it with these stages; with others beside them, each has another taker.
fn found(stages: &[&str], parted: bool, workers: usize) -> Found {
    let mut text = format!("name = \"chain\"\n[stage.{0}]\ntype = \"{0}\"\n", stages[0]);
    let mut from = stages[0];
    for stage in stages[1..].iter().chain(&["holder"]) {
        text += &format!("[stage.{stage}]\ntype = \"{stage}\"\nfrom = \"{from}\"\n");
        if parted && *stage != "holder" {
            text += &format!("[stage.{stage}-other]\ntype = \"other\"\nfrom = \"{stage}\"\n");
        }
        from = stage;
    }
    let (held, folder) = (Held::default(), tempfile::tempdir().unwrap());
    let registry = registry(&held);
    let document = parse(Path::new("chain.toml"), &text, &[]).unwrap();
    let mut plan = document.resolve(&registry).map_err(|e| e.to_string()).unwrap();
    plan.run.workers = workers;
    let outcome = run(plan, &registry, &Options::new(folder.path().to_path_buf()), |_| ()).unwrap();
    let counted = outcome.stages.iter().filter(|stage| !stage.name.ends_with("other"));
    let counts = counted.map(|s| (s.name.clone(), [s.inputs, s.done, s.outputs, s.rejected])).collect();
    let rejected = std::fs::read_to_string(folder.path().join("rejected.jsonl")).unwrap();
    let mut rejected: Vec<_> = rejected.lines().map(String::from).collect();
    rejected.sort();
    let held = held.lock().unwrap().clone();
    (held, counts, rejected)
}

#[test]
fn stages_as_one_operator_do_what_they_do_as_several() {
    let begin = ["once", "teller"];
    for stages in [&["spread", "pick", "plus", "total"][..], &["pick", "spread", "plus"], &["pick", "total"], &["pick"]]
    {
        let stages = [&begin[..], stages].concat();
        let apart = found(&stages, true, 1);
        assert!(!apart.0.is_empty() && !apart.2.is_empty());
        (1..=3).for_each(|workers| assert_eq!(found(&stages, false, workers), apart, "{stages:?} {workers}"));
    }
}

#[test]
fn what_is_taken_back_leaves_nothing_behind() {
    let (held, counts, rejected) = found(&["once", "teller", "spread", "pick", "plus"], false, 1);
    let plain = |n: &u64| [5, 7, 11].iter().all(|by| !n.is_multiple_of(*by));
    let told = (0..500).filter(|n| n % 4 > 0).flat_map(|n| [n, n + 1000]);
    assert_eq!(held, told.clone().filter(plain).map(|n| (n + 1, 1)).collect());
    let failed = told.filter(|n| n % 5 == 0 || n % 11 == 0).count();
    assert_eq!(rejected.len(), failed);
    let pick = counts.iter().find(|(name, _)| name == "pick").unwrap();
    assert_eq!(pick.1, [750, 750 - failed as i64, held.len() as i64, failed as i64]);
}

#[test]
fn groups_that_are_sent_piece_by_piece_all_come() {
    for workers in 1..=2 {
        let (held, counts, rejected) = found(&["long", "lengths"], false, workers);
        assert_eq!(held, (0..50).map(|n| (n * 1_000_000 + 100_000, 1)).collect());
        assert_eq!((counts[1].1, rejected.len()), ([50, 50, 50, 0], 0));
    }
}
