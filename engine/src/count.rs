//! What every stage has done so far, for progress lines and the final account.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Live counts of one stage. Items are net of retractions, calls are not.
#[derive(Debug, Default)]
pub struct Counts {
    items: AtomicI64,
    done: AtomicI64,
    records: AtomicI64,
    rejected: AtomicI64,
    calls: AtomicU64,
    memo_hits: AtomicU64,
    most_records: AtomicU64,
    most_bytes: AtomicU64,
}

/// The counts of one stage at one moment; `inputs = done + rejected` once nothing waits.
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
    /// Rows of a source that were outstanding at once, at most: let in, and not yet done with by all that depends on them.
    pub most_records: u64,
    /// Their bytes, at most.
    pub most_bytes: u64,
}

impl StageCount {
    /// Adds what the same stage did in another process.
    pub(crate) fn add(&mut self, other: &StageCount) {
        self.inputs += other.inputs;
        self.done += other.done;
        self.outputs += other.outputs;
        self.rejected += other.rejected;
        self.calls += other.calls;
        self.memo_hits += other.memo_hits;
        self.most_records = self.most_records.max(other.most_records);
        self.most_bytes = self.most_bytes.max(other.most_bytes);
    }
}

impl Counts {
    pub(crate) fn take(&self, items: isize) {
        self.items.fetch_add(items as i64, Relaxed);
    }
    /// Items handled to the end, and the records that they became.
    pub(crate) fn finish(&self, items: isize, records: isize) {
        self.done.fetch_add(items as i64, Relaxed);
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

    /// So many rows and bytes of a source are outstanding.
    pub(crate) fn hold(&self, (records, bytes): (usize, u64)) {
        self.most_records.fetch_max(records as u64, Relaxed);
        self.most_bytes.fetch_max(bytes, Relaxed);
    }

    /// Items handled, one way or the other, and those of them that were set aside.
    pub(crate) fn handled(&self) -> (i64, i64) {
        let rejected = self.rejected.load(Relaxed);
        (self.done.load(Relaxed) + rejected, rejected)
    }

    /// The counts now.
    pub(crate) fn read(&self, name: &str, kind: &str) -> StageCount {
        StageCount {
            name: name.to_string(),
            kind: kind.to_string(),
            inputs: self.items.load(Relaxed),
            done: self.done.load(Relaxed),
            outputs: self.records.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            calls: self.calls.load(Relaxed),
            memo_hits: self.memo_hits.load(Relaxed),
            most_records: self.most_records.load(Relaxed),
            most_bytes: self.most_bytes.load(Relaxed),
        }
    }
}
