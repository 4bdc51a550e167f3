//! Stages as the dataflow runs them: batches of bytes, every item contained.

mod builtin;
mod isolated;
mod library;
mod pipe;
pub mod process;

use obvert_api::{Error, Operation, Outcome, Reply};

pub use builtin::Builtin;
pub use isolated::Isolated;
pub use library::{Library, load};

/// An item of a stage, with the replies so far.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// A record for a map, an encoded invocation without replies (see [`obvert_api::frame`]) for a group.
    pub item: &'a [u8],
    /// The answers to all that was requested for it.
    pub replies: &'a [Reply],
}

/// A created stage.
pub trait Runner: Send + Sync {
    /// Handles a batch; one result per item.
    fn run(&self, batch: &[Work<'_>]) -> Vec<Result<Outcome, Error>>;
    /// Performs another operation on each record.
    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Option<Vec<u8>>, Error>>;
}
