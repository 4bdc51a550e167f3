//! What stages make that is about something: the pipeline is gone through with the memo alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::explain::{Wanted, looking};
use super::run;
use super::shown::{Reader, shown};
use crate::dataflow::{Traced, record_id};
use crate::pipeline::Plan;
use crate::{Error, Observed, Observer, Observers, Registry, ToJson};

/// The records that are asked for, of all sources and stages, in the order of the file. Nothing is called and no file of the
/// results is written; what depends on a call that was not made, or on training, is not seen.
///
/// # Errors
/// As for [`run`].
pub fn records_of(plan: Plan, registry: &Registry, out: &Path, wanted: Wanted) -> Result<Vec<(String, Value)>, Error> {
    let names: Vec<String> = plan.stages.iter().map(|stage| stage.name.clone()).collect();
    let seen = Arc::<Seen>::default();
    let observers: Observers = {
        let seen = Arc::clone(&seen);
        Arc::new(move |Observed { stage, to_json, .. }| {
            let (stage, wanted, seen) = (stage.to_owned(), Arc::clone(&wanted), Arc::clone(&seen));
            Some(Arc::new(Look { stage, to_json, wanted, seen }) as Arc<dyn Observer>)
        })
    };
    let mut options = looking(out, Arc::new(|_| ()));
    options.observers = Some(observers);
    run(plan, registry, &options, |_| ())?;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let position = |stage: &str| names.iter().position(|name| name == stage);
    let mut found: Vec<_> = seen.into_iter().filter(|(_, copies)| *copies > 0).map(|(record, _)| record).collect();
    found.sort_by_key(|(stage, _)| position(stage));
    Ok(found.into_iter().map(|(stage, text)| (stage, serde_json::from_str(&text).unwrap_or_default())).collect())
}

/// What comes to stages under this id, and is none of the records that stages make: groups, by which stages go that take many records
/// at once. Nothing is called, as for [`records_of`].
///
/// # Errors
/// As for [`run`].
pub fn items_of(plan: Plan, registry: &Registry, out: &Path, id: &str) -> Result<Vec<(String, Value)>, Error> {
    let found = Arc::<Mutex<Vec<(String, Value)>>>::default();
    let (id, seen) = (id.to_owned(), Arc::clone(&found));
    let trace = move |Traced { stage, item, call }: Traced<'_>| {
        if call.is_none() && record_id(&item.bytes.0) == id {
            let item = (stage.name.to_string(), shown(Some(&Reader::of(stage)), &item.bytes.0));
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !seen.contains(&item) {
                seen.push(item);
            }
        }
    };
    run(plan, registry, &looking(out, Arc::new(trace)), |_| ())?;
    Ok(std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Copies of records, by stage and JSON.
type Seen = Mutex<BTreeMap<(String, String), isize>>;

struct Look {
    stage: String,
    to_json: ToJson,
    wanted: Wanted,
    seen: Arc<Seen>,
}

impl Observer for Look {
    fn looks(&self) -> bool {
        true
    }

    fn see(&self, record: &[u8], copies: isize) {
        let Ok(shown) = (self.to_json)(record) else { return };
        let Ok(value) = serde_json::from_slice(&shown) else { return };
        if (self.wanted)(&record_id(record), &value) {
            let text = String::from_utf8_lossy(&shown).into_owned();
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen.entry((self.stage.clone(), text)).or_default() += copies;
        }
    }
}
