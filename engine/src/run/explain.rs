//! Why a call was, or will be, paid: the pipeline is gone through with the memo alone.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::shown::{Reader, shown};
use super::{Options, run};
use crate::dataflow::{Trace, Traced, record_id};
use crate::memo::CallPlace;
use crate::model::Explanation;
use crate::pipeline::Plan;
use crate::{Error, Registry};

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

/// Whether a record, of this id and shown as JSON, is one that is asked for.
pub type Wanted = Arc<dyn Fn(&str, &Value) -> bool + Send + Sync>;

/// All calls that some items ask for. Nothing is called and no file of the results is written; what depends on a call that was not
/// made yet is not seen.
///
/// # Errors
/// As for [`run`].
pub fn explain(plan: Plan, registry: &Registry, out: &Path, wanted: Wanted) -> Result<Vec<Explained>, Error> {
    let names: Vec<String> = plan.stages.iter().map(|stage| stage.name.clone()).collect();
    let found = Arc::new(Mutex::new(Ok(Vec::new())));
    let options = looking(out, trace(wanted, Arc::clone(&found)));
    run(plan, registry, &options, |_| ())?;
    let found = std::mem::replace(&mut *found.lock().unwrap_or_else(PoisonError::into_inner), Ok(Vec::new()));
    let mut found = found.map_err(|cause| Error::State { path: out.join("state").join("memo"), cause })?;
    let position = |explained: &Explained| names.iter().position(|name| *name == explained.stage);
    found.sort_by_cached_key(|explained| {
        (explained.lap, position(explained), explained.item.to_string(), explained.sample)
    });
    Ok(found)
}

/// A run that looks at calls and makes none.
pub(super) fn looking(out: &Path, trace: Trace) -> Options {
    Options { trace: Some(trace), ..Options::new(out.to_path_buf()) }
}

type Found = Arc<Mutex<Result<Vec<Explained>, String>>>;

fn trace(wanted: Wanted, found: Found) -> Trace {
    Arc::new(move |Traced { stage, item: whole, call }| {
        let Some((request, identity)) = call else { return };
        let item = shown(Some(&Reader::of(stage)), &whole.bytes.0);
        if !wanted(&record_id(&whole.bytes.0), &item) {
            return;
        }
        let place = CallPlace::new(&stage.name, whole.place.root, whole.place.lap);
        let explanation = stage.endpoints.get(&request.model).and_then(|endpoint| endpoint.explain(identity, place));
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match explanation {
            Ok(explanation) => drop(found.as_mut().map(|found| {
                let (stage, lap) = (stage.name.to_string(), whole.place.lap);
                let (model, sample) = (request.model.clone(), request.sample);
                found.push(Explained { stage, item, lap, model, sample, explanation });
            })),
            Err(cause) => *found = Err(cause),
        }
    })
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
