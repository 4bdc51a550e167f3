//! `NAME.ledger.jsonl`: how what was trained on came to differ from the inputs, pair by pair, and what was done about it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::Error;
use crate::output::growing::Growing;

/// What becomes of a pair that is withdrawn after it was trained on, and of one that comes to stand before others that
/// were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Withdrawn {
    /// Nothing: it stays in the adapter, and is replayed as before. A late pair is trained on when it comes.
    Ignore,
    /// It stays in the adapter, but is not replayed any more, and not measured if it is held out and was not yet. What waits in the
    /// window to be trained on is trained on. A late pair is trained on when it comes.
    #[default]
    ExcludeNextEpoch,
    /// The trainer goes back to its newest checkpoint from before the first difference, or else to the beginning, and trains on the
    /// pairs as they are now: when the run is quiet the adapter is, bit for bit, that of a run that never had others. Costs the
    /// updates since then once more.
    Rollback,
}

/// A pair that went from what was told, or came into the middle of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) pair: String,
    /// -1 or 1.
    pub(super) diff: i8,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    pair: &'a str,
    diff: i8,
    /// The first update that it was trained in; null where there was none.
    update: Option<u64>,
    policy: Withdrawn,
    done: &'static str,
    /// Seconds since 1970.
    time: u64,
}

/// The file, open.
pub(super) struct Ledger {
    file: Growing,
    policy: Withdrawn,
}

impl Ledger {
    /// Goes on with the file at `path`.
    ///
    /// # Errors
    /// As of `note`: what the file system reports.
    pub(super) fn open(path: &Path, policy: Withdrawn) -> Result<Self, Error> {
        Ok(Ledger { file: Growing::resume(path)?, policy })
    }

    /// Writes differences down, each with the update that the pair was trained in; they are durable when this returns.
    pub(super) fn note(
        &mut self,
        differences: &[Difference],
        update: impl Fn(&str) -> Option<u64>,
    ) -> Result<(), Error> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        for Difference { pair, diff } in differences {
            let (update, policy) = (update(pair), self.policy);
            let done = done(policy, *diff, update.is_some());
            self.file.append(&Line { pair, diff: *diff, update, policy, done, time })?;
        }
        self.file.sync()
    }
}

fn done(policy: Withdrawn, diff: i8, trained: bool) -> &'static str {
    match (policy, diff, trained) {
        (Withdrawn::Rollback, _, _) => "trained again from before it",
        (Withdrawn::ExcludeNextEpoch, -1, _) => "not replayed",
        (_, 1, false) => "trained on when it came",
        _ => "kept",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn lines_say_what_was_done_and_a_torn_one_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/train.ledger.jsonl");
        let note = |policy, pair: &str, diff| {
            let trained = |pair: &str| (pair == "old").then_some(3);
            Ledger::open(&path, policy).unwrap().note(&[Difference { pair: pair.into(), diff }], trained).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let mut last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            std::fs::write(&path, format!("{text}{{\"pair\":")).unwrap();
            assert!(last.as_object_mut().unwrap().remove("time").unwrap().as_u64().unwrap() > 1_700_000_000);
            last
        };
        let line = |pair: &str, diff: i8, update: Value, policy: &str, done: &str| json!({ "pair": pair, "diff": diff, "update": update, "policy": policy, "done": done });
        let (ignore, exclude, rollback) = ("ignore", "exclude-next-epoch", "rollback");
        let again = "trained again from before it";
        assert_eq!(note(Withdrawn::Ignore, "old", -1), line("old", -1, json!(3), ignore, "kept"));
        assert_eq!(note(Withdrawn::Ignore, "new", 1), line("new", 1, json!(null), ignore, "trained on when it came"));
        assert_eq!(note(Withdrawn::default(), "old", -1), line("old", -1, json!(3), exclude, "not replayed"));
        assert_eq!(note(Withdrawn::default(), "old", 1), line("old", 1, json!(3), exclude, "kept"));
        assert_eq!(note(Withdrawn::Rollback, "new", 1), line("new", 1, json!(null), rollback, again));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 6);
    }
}
