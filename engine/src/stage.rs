//! Stages as the dataflow runs them: batches of bytes, every item contained.

mod answers;
mod built;
mod builtin;
mod chain;
mod child;
mod example;
mod foreign;
mod frames;
mod host;
mod isolated;
mod kept;
mod library;
mod lines;
mod pipe;
pub mod process;
mod said;

use std::sync::Arc;

use obvert_api::{Error, Operation, Outcome, Reply};

pub(crate) use built::build;
pub use built::{fingerprint, sources};
pub use builtin::Builtin;
pub use chain::Link;
pub(crate) use chain::{Chain, Passed};
pub(crate) use example::Shown;
pub use isolated::Limits;
pub use library::{Library, load, load_in_place};
pub use lines::{Program, ask};
pub(crate) use said::in_stage;

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
    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Outcome, Error>>;
    /// What it can be run together with.
    fn link(&self) -> Link<'_> {
        Link::ALONE
    }
}

/// What a stage says to an operation on one record.
///
/// # Errors
/// What the stage says, or that it says nothing.
pub(crate) fn ask_one(runner: &dyn Runner, operation: Operation, record: &[u8]) -> Result<Arc<[u8]>, Error> {
    let answered = example::only(runner.ask(operation, &[record]))?.records.pop();
    answered.ok_or_else(|| Error::new("the stage gave no answer"))
}

/// What tells the content of a plugin from another: 16 hexadecimal digits of its hash.
fn build_of(content: &[u8]) -> String {
    blake3::hash(content).to_hex()[..16].to_string()
}
