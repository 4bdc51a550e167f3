//! `explain`: for a record, which calls it asks for, whether the memo has them, and if not, what differs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use obvert_engine::Explained;
use obvert_engine::model::Explanation;

use super::about::{Arguments, label};

/// Explains the calls of a record.
pub fn explain(arguments: &Arguments) -> anyhow::Result<()> {
    let about = arguments.open()?;
    let found = about.look()?;
    anyhow::ensure!(!found.is_empty(), about.unknown());
    // The same call of the same record, by another row, is one line.
    let mut shown = BTreeSet::new();
    let calls: Vec<&Explained> = found.calls.iter().filter(|call| shown.insert(line(call))).collect();
    calls.iter().for_each(|call| println!("{}", line(call)));
    let new = calls.iter().filter(|call| matches!(call.explanation, Explanation::New(_))).count();
    match calls.len() {
        0 => println!("no model is asked for anything about `{}`", about.id),
        all => println!("{all} calls, {} in the memo, {new} to be made", all - new),
    }
    if new > 0 {
        println!("what depends on a call that is to be made is not shown");
    }
    Ok(())
}

/// A call in a line.
pub(super) fn line(explained: &Explained) -> String {
    let Explained { stage, item, model, sample, explanation, .. } = explained;
    format!("{stage}  {}  {model} sample {sample}: {}", label(item), reason(explanation))
}

fn reason(explanation: &Explanation) -> String {
    match explanation {
        Explanation::Known(origin) => {
            format!("in the memo since {}, asked by `{}` of `{}`", time(origin.made), origin.stage, origin.pipeline)
        }
        Explanation::New(None) => "to be made; nothing was asked in its place before".into(),
        Explanation::New(Some((differ, made))) => {
            format!("to be made; the call of {} in its place differs in {}", time(*made), differ.join(", "))
        }
    }
}

/// Unix time as people read it.
pub(super) fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".into(), |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string())
}
