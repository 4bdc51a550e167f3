//! What there is about something: the pipeline is gone through with the memo alone. Nothing is called, and no file of the results is
//! written; what depends on a call that was not made, or on training, is not seen.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::shown::{Reader, shown};
use super::{Options, run};
use crate::dataflow::{Item, Trace, Traced, record_id};
use crate::memo::{CallPlace, Identity, Key};
use crate::model::Explanation;
use crate::pipeline::Plan;
use crate::{Error, Observed, Observer, Observers, Registry, ToJson};
use obvert_api::Request;

/// Whether a record, of this id and shown as JSON, is one that is asked for. Groups are asked for by their ids alone, as null.
pub type Wanted = Arc<dyn Fn(&str, &Value) -> bool + Send + Sync>;

/// What there is: of stages in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Records, each with the name of the source or stage that makes it.
    pub records: Vec<(String, Value)>,
    /// Calls that records ask for.
    pub calls: Vec<Explained>,
    /// Groups, each with the name of the stage that takes it.
    pub groups: Vec<(String, Value)>,
}

impl Looked {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.calls.is_empty() && self.groups.is_empty()
    }
}

/// A call that a record asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Name of the stage.
    pub stage: String,
    /// The item, as JSON.
    pub item: Value,
    /// The lap of the turn loop.
    pub lap: u32,
    /// The model's name.
    pub model: String,
    /// Which of several samples.
    pub sample: u32,
    /// Where the reply comes from.
    pub explanation: Explanation,
}

/// Looks for what is wanted.
///
/// # Errors
/// As for [`run`].
pub fn look(plan: Plan, registry: &Registry, out: &Path, wanted: Wanted) -> Result<Looked, Error> {
    let names: Vec<String> = plan.stages.iter().map(|stage| stage.name.clone()).collect();
    let desk = Arc::new(Desk { wanted, seen: Mutex::default() });
    let (trace, observers) = (Some(desk.trace()), Some(desk.observers()));
    run(plan, registry, &Options { trace, observers, ..Options::new(out.to_path_buf()) }, |_| ())?;
    let seen = std::mem::take(&mut *desk.seen());
    match seen.failed {
        Some(cause) => Err(Error::State { path: out.join("state").join("memo"), cause }),
        None => Ok(seen.there(&names)),
    }
}

/// Whether one of the strings of a record is this one.
pub fn mentions(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text == id,
        Value::Array(values) => values.iter().any(|value| mentions(value, id)),
        Value::Object(fields) => fields.values().any(|value| mentions(value, id)),
        _ => false,
    }
}

/// What was seen, with how many copies of it there are: what is withdrawn is seen, too.
#[derive(Default)]
struct Seen {
    /// By stage and JSON.
    records: BTreeMap<(String, String), isize>,
    groups: BTreeMap<(String, String), isize>,
    calls: HashMap<(String, Item, Key), (Explained, isize)>,
    /// Why a call cannot be explained.
    failed: Option<String>,
}

impl Seen {
    /// What is there in the end, where stages have this order.
    fn there(self, names: &[String]) -> Looked {
        let position = |stage: &str| names.iter().position(|name| name == stage);
        let sorted = |seen: BTreeMap<(String, String), isize>| {
            let mut there: Vec<_> = seen.into_iter().filter(|(_, copies)| *copies > 0).map(|(one, _)| one).collect();
            there.sort_by_key(|(stage, _)| position(stage));
            let parsed = |text: String| serde_json::from_str(&text).unwrap_or_default();
            there.into_iter().map(|(stage, text)| (stage, parsed(text))).collect()
        };
        let calls = self.calls.into_values().filter(|(_, copies)| *copies > 0);
        let mut calls: Vec<Explained> = calls.map(|(call, _)| call).collect();
        calls.sort_by_cached_key(|call| (call.lap, position(&call.stage), call.item.to_string(), call.sample));
        Looked { records: sorted(self.records), calls, groups: sorted(self.groups) }
    }
}

/// Takes down what is wanted.
struct Desk {
    wanted: Wanted,
    seen: Mutex<Seen>,
}

impl Desk {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observers(self: &Arc<Self>) -> Observers {
        let desk = Arc::clone(self);
        Arc::new(move |Observed { stage, to_json, .. }| {
            Some(Arc::new(Look { stage: stage.to_owned(), to_json, desk: Arc::clone(&desk) }) as Arc<dyn Observer>)
        })
    }

    fn trace(self: &Arc<Self>) -> Trace {
        let desk = Arc::clone(self);
        Arc::new(move |traced| match traced.call {
            Some(call) => desk.call(&traced, call),
            None if traced.stage.grouped.is_some() => desk.group(&traced),
            None => (),
        })
    }

    fn group(&self, Traced { stage, item, net, .. }: &Traced<'_>) {
        if (self.wanted)(&record_id(&item.bytes.0), &Value::Null) {
            let text = shown(Some(&Reader::of(stage)), &item.bytes.0).to_string();
            *self.seen().groups.entry((stage.name.to_string(), text)).or_default() += net;
        }
    }

    fn call(&self, Traced { stage, item, net, .. }: &Traced<'_>, (request, identity): (&Request, &Identity)) {
        let json = shown(Some(&Reader::of(stage)), &item.bytes.0);
        if !(self.wanted)(&record_id(&item.bytes.0), &json) {
            return;
        }
        let (name, lap) = (stage.name.to_string(), item.place.lap);
        let place = CallPlace::new(&name, item.place.root, lap);
        let explanation = stage.endpoints.get(&request.model).and_then(|endpoint| endpoint.explain(identity, place));
        let mut seen = self.seen();
        match explanation {
            Ok(explanation) => {
                let (model, sample) = (request.model.clone(), request.sample);
                let key = (name.clone(), (*item).clone(), identity.key);
                let call = Explained { stage: name, item: json, lap, model, sample, explanation };
                seen.calls.entry(key).or_insert((call, 0)).1 += net;
            }
            Err(cause) => seen.failed = Some(cause),
        }
    }
}

/// Looks at the records of a stage.
struct Look {
    stage: String,
    to_json: ToJson,
    desk: Arc<Desk>,
}

impl Observer for Look {
    fn looks(&self) -> bool {
        true
    }

    fn see(&self, record: &[u8], copies: isize) {
        let Ok(json) = (self.to_json)(record) else { return };
        let Ok(value) = serde_json::from_slice(&json) else { return };
        if (self.desk.wanted)(&record_id(record), &value) {
            let text = String::from_utf8_lossy(&json).into_owned();
            *self.desk.seen().records.entry((self.stage.clone(), text)).or_default() += copies;
        }
    }
}
