//! Follows the sources of a run while it goes on: a source that may have changed is read again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use obvert_api::abi::reason_of;

use super::Shared;
use crate::registry::{Row, Source};

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_millis(200);

/// The rows of a source as they are now, by its node; or why they cannot be read.
pub(super) type Read = (usize, Result<Vec<Row>, String>);

/// Reads all sources, and those that change as long as the run follows them.
pub(super) fn follow(shared: &Arc<Shared>) -> Receiver<Read> {
    let (send, receive) = channel();
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let sources = shared.stages.iter().enumerate().filter_map(|(node, stage)| Some((node, stage.source.as_ref()?)));
        let mut sources: Vec<_> = sources.map(|(node, source)| Followed { node, source, stamp: None }).collect();
        while !shared.ending.is_closing() && sources.iter_mut().all(|source| source.look(&send)) && shared.watch {
            std::thread::sleep(PAUSE);
        }
    });
    receive
}

struct Followed<'a> {
    node: usize,
    source: &'a Arc<dyn Source>,
    /// Of the rows that were read last.
    stamp: Option<u64>,
}

impl Followed<'_> {
    /// Reads the rows if they may have changed; whether anybody still wants them.
    fn look(&mut self, to: &Sender<Read>) -> bool {
        // Before reading: what is written meanwhile is seen the next time.
        let stamp = Some(self.source.stamp());
        if self.stamp == stamp {
            return true;
        }
        self.stamp = stamp;
        let rows = catch_unwind(AssertUnwindSafe(|| self.source.rows().map(Iterator::collect)));
        to.send((self.node, rows.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()).0)))).is_ok()
    }
}
