//! Who traces a run is told of every item that waited for a model, and of every call that was made for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use obvert_engine::pipeline::{Plan, parse};
use obvert_engine::registry::own_library;
use obvert_engine::{Became, Called, Options, Progress, Registry, Tracer, Waited, Whose, run};
use obvert_stages::Findings;

use crate::common::folder;

/// Each question takes 2 s; those of k9 fail.
const PIPELINE: &str = r#"
name = "traced"
plugins = ["LIBRARY"]

[model.m]
kind = "scripted"
latency_ms = 2000
[[model.m.rule]]
match = "what of k[0-8]"
reply = "yes"

[stage.a]
type = "rows"
path = "a.jsonl"

[stage.ask]
type = "toy-ask"
from = "a"
model = "m"

[stage.out]
type = "jsonl"
from = "ask"
"#;

/// Whose a span is: stage, record, row and lap, and since when.
type Id = (String, String, u64, u32, SystemTime);

fn id(whose: &Whose<'_>) -> Id {
    (whose.stage.into(), whose.record.into(), whose.root, whose.lap, whose.since)
}

/// What is told: items with what became of them, and calls by the item and whether they were answered.
#[derive(Default)]
struct Told {
    begun: Mutex<Vec<SystemTime>>,
    items: Mutex<BTreeMap<Id, String>>,
    calls: Mutex<Vec<(Id, bool)>>,
}

impl Tracer for Told {
    fn begin(&self, at: SystemTime) {
        self.begun.lock().unwrap().push(at);
    }

    fn item(&self, item: &Waited<'_>) {
        assert!(item.ended >= item.whose.since);
        let became = match item.became {
            Became::Records(count) => format!("{count} records"),
            Became::SetAside(_) => "set aside".into(),
            Became::Withdrawn => "withdrawn".into(),
        };
        assert_eq!(self.items.lock().unwrap().insert(id(&item.whose), became), None, "one item was told of twice");
    }

    fn call(&self, call: &Called<'_>) {
        assert!(call.took.begun >= call.whose.since);
        self.calls.lock().unwrap().push((id(&call.whose), call.answer.is_ok()));
    }
}

fn planned(folder: &Path) -> (Plan, Registry) {
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    let library = own_library("obvert_toys").unwrap();
    registry.add_plugin(&library).unwrap();
    let text = PIPELINE.replace("LIBRARY", &library.display().to_string());
    let document = parse(&folder.join("traced.toml"), &text, &[]).unwrap();
    (document.resolve(&registry).unwrap(), registry)
}

fn row(id: usize, key: usize) -> String {
    format!(r#"{{"id": "a{id}", "key": "k{key}", "value": {id}}}"#)
}

fn write(folder: &Path, rows: &[String]) {
    fs::write(folder.join("new"), rows.join("\n")).unwrap();
    fs::rename(folder.join("new"), folder.join("a.jsonl")).unwrap();
}

#[test]
fn items_and_their_calls_are_told_and_failures_and_withdrawals_are_known() {
    let folder = folder(&[]);
    let all = [row(1, 1), row(2, 2), row(3, 9), row(4, 4)];
    write(folder.path(), &all[..3]);
    let ((plan, registry), told) = (planned(folder.path()), Arc::<Told>::default());
    let mut options = Options::new(folder.path().join("out"));
    (options.tracer, options.watch) = (Some(Arc::clone(&told) as Arc<dyn Tracer>), true);
    let (steering, path) = (options.steering.clone(), folder.path().to_path_buf());
    let (tell, progress) = channel::<Progress>();
    let editing = std::thread::spawn(move || {
        let progress = progress.recv().unwrap();
        // Until so many items are there, of which so many still wait.
        let wait_for = |there: i64, waiting: i64| {
            let reached = || {
                let ask = progress.stages().into_iter().find(|stage| stage.name == "ask").unwrap();
                (ask.inputs, ask.inputs - ask.done - ask.rejected) == (there, waiting)
            };
            (0..2000).any(|_| reached() || (std::thread::sleep(Duration::from_millis(10)), false).1)
        };
        // One comes, goes while it waits, and comes again.
        let steps = [(&all[..3], 0), (&all[..], 1), (&all[..3], 0), (&all[..], 1), (&all[..], 0)];
        let missed = steps.into_iter().find(|(rows, waiting)| {
            write(&path, rows);
            !wait_for(rows.len() as i64, *waiting)
        });
        steering.renew.store(true, Relaxed);
        missed.map(|(rows, waiting)| (rows.len(), waiting))
    });
    run(plan, &registry, &options, |progress| tell.send(progress).unwrap()).unwrap();
    assert_eq!(editing.join().unwrap(), None, "there were never so many items of which so many waited");
    let (items, calls) = (told.items.lock().unwrap(), told.calls.lock().unwrap());
    assert_eq!(told.begun.lock().unwrap().len(), 1);
    let count = |became: &str| items.values().filter(|other| *other == became).count();
    assert_eq!((count("1 records"), count("set aside")), (3, 1), "{items:?}");
    assert_eq!(count("withdrawn"), 1, "{items:?}");
    assert!(calls.iter().all(|(of, _)| items.contains_key(of)), "a call is of no item: {calls:?}\n{items:?}");
    assert!(calls.iter().all(|(of, good)| *good == (items[of] != "set aside")), "{calls:?}\n{items:?}");
    assert_eq!(calls.iter().filter(|(_, good)| !good).count(), 1, "{calls:?}");
}
