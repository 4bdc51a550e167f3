//! What every stage has done so far, for progress lines and the final account.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Live counts of one stage. Items are net of retractions, calls are not.
#[derive(Debug, Default)]
pub struct Counts {
    items: AtomicI64,
    records: AtomicI64,
    rejected: AtomicI64,
    calls: AtomicU64,
    memo_hits: AtomicU64,
}

/// The counts of one stage at one moment; `inputs = done + rejected + waiting`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StageCount {
    /// Name of the stage.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Items taken in (records of a map, groups of a group, rows of a source).
    pub inputs: i64,
    /// Items handled to the end.
    pub done: i64,
    /// Records made.
    pub outputs: i64,
    /// Items set aside.
    pub rejected: i64,
    /// Model calls made.
    pub calls: u64,
    /// Model calls answered from the memo.
    pub memo_hits: u64,
}

impl Counts {
    pub(crate) fn take(&self, items: isize) {
        self.items.fetch_add(items as i64, Relaxed);
    }
    pub(crate) fn make(&self, records: isize) {
        self.records.fetch_add(records as i64, Relaxed);
    }
    pub(crate) fn reject(&self, items: isize) {
        self.rejected.fetch_add(items as i64, Relaxed);
    }
    pub(crate) fn call(&self) {
        self.calls.fetch_add(1, Relaxed);
    }
    pub(crate) fn hit(&self) {
        self.memo_hits.fetch_add(1, Relaxed);
    }

    pub(crate) fn rejections(&self) -> i64 {
        self.rejected.load(Relaxed)
    }

    /// The counts now; `waiting` items are still at work.
    pub(crate) fn read(&self, name: &str, kind: &str, waiting: i64) -> StageCount {
        let (inputs, rejected) = (self.items.load(Relaxed), self.rejections());
        StageCount {
            name: name.to_string(),
            kind: kind.to_string(),
            inputs,
            done: inputs - rejected - waiting,
            outputs: self.records.load(Relaxed),
            rejected,
            calls: self.calls.load(Relaxed),
            memo_hits: self.memo_hits.load(Relaxed),
        }
    }
}
