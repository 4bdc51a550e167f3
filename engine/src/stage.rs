//! Stages as the dataflow runs them: batches of bytes, every item contained.

mod builtin;
mod library;

use obvert_api::{Error, Operation, Outcome};

pub use builtin::Builtin;
pub use library::{Library, load};

/// A created stage.
pub trait Runner: Send + Sync {
    /// Handles a batch of invocations (see [`obvert_api::frame`]); one result per item.
    fn run(&self, items: &[Vec<u8>]) -> Vec<Result<Outcome, Error>>;
    /// Performs another operation on each record.
    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Option<Vec<u8>>, Error>>;
}
