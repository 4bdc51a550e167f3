//! What every stage has done so far, for progress lines and the final account.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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
    busy_ns: AtomicU64,
    blocked_ns: AtomicU64,
    queued: AtomicU64,
    complete: AtomicBool,
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
    /// Seconds that workers spent in it, summed over them. Stages that are run as one count as the first of them.
    pub busy_s: f64,
    /// Seconds in which a source had a row and could not let it in.
    pub blocked_s: f64,
    /// Rows of a source that are outstanding now.
    pub outstanding: u64,
    /// Rows of a source that were read and not let in yet.
    pub queued: u64,
    /// Whether a source has been read to its end.
    pub complete: bool,
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
        self.busy_s += other.busy_s;
        self.blocked_s += other.blocked_s;
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

    /// A worker was in the stage for so long.
    pub(crate) fn work(&self, time: Duration) {
        self.busy_ns.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// A source could not let a row in for so long.
    pub(crate) fn block(&self, time: Duration) {
        self.blocked_ns.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// So many rows of a source were read and not let in, and it is read to its end or not.
    pub(crate) fn wait(&self, rows: usize, complete: bool) {
        self.queued.store(rows as u64, Relaxed);
        self.complete.store(complete, Relaxed);
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
            busy_s: seconds(&self.busy_ns),
            blocked_s: seconds(&self.blocked_ns),
            outstanding: 0,
            queued: self.queued.load(Relaxed),
            complete: self.complete.load(Relaxed),
        }
    }
}

fn seconds(nanoseconds: &AtomicU64) -> f64 {
    Duration::from_nanos(nanoseconds.load(Relaxed)).as_secs_f64()
}
