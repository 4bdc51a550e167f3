//! Who traces a run is told of every item that waited for a model, and of every call that was made for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use obvert_api::{Reply, Request};
use obvert_engine::model::{Failure, Model};
use obvert_engine::pipeline::{Plan, parse};
use obvert_engine::registry::own_library;
use obvert_engine::{Became, Called, Options, Progress, Registry, Tracer, Waited, Whose, run};
use obvert_stages::Findings;
use serde_json::json;

use crate::common::folder;

const PIPELINE: &str = r#"
name = "traced"
plugins = ["LIBRARY"]

[model.m]
kind = "held"

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

/// Answers while it is open; what is asked of k9 fails.
struct Held {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Held {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.changed.notify_all();
    }
}

impl Model for Held {
    fn identity(&self) -> String {
        "held".into()
    }

    fn call(&self, requests: &[Request], _: Option<Duration>) -> Vec<Result<Reply, Failure>> {
        drop(self.changed.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        let fails = |request: &Request| request.messages.iter().any(|message| message.content.contains("k9"));
        let yes = Reply { text: "yes".into(), prompt_tokens: 1, reply_tokens: 1, finished: true };
        let answer = |request| if fails(request) { Err("no".to_string().into()) } else { Ok(yes.clone()) };
        requests.iter().map(answer).collect()
    }
}

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

fn planned(folder: &Path, model: &Arc<Held>) -> (Plan, Registry) {
    let mut registry = Registry::new();
    obvert_stages::register(&mut registry, &Findings::default());
    let (any, model) = (json!({ "type": "object" }), Arc::clone(model));
    registry.add_model("held", any, Arc::new(|_| Ok(())), Arc::new(move |_| Ok(Arc::clone(&model) as Arc<dyn Model>)));
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
    let model = Arc::new(Held { open: Mutex::new(true), changed: Condvar::new() });
    let ((plan, registry), told) = (planned(folder.path(), &model), Arc::<Told>::default());
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
        let steps = [(true, 3, 0), (false, 4, 1), (false, 3, 0), (false, 4, 1), (true, 4, 0)];
        let missed = steps.into_iter().find(|(open, there, waiting)| {
            model.set(*open);
            write(&path, &all[..*there]);
            !wait_for(*there as i64, *waiting)
        });
        model.set(true);
        steering.renew.store(true, Relaxed);
        missed
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
