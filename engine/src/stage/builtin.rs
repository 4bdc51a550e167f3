//! A stage that is linked into the program: the same trait, the same containment, no border.

use std::panic::{AssertUnwindSafe, catch_unwind};

use obvert_api::abi::reason_of;
use obvert_api::erased::Erased;
use obvert_api::{Error, Operation, Outcome, frame};

use super::Runner;

/// Runs a linked stage.
pub struct Builtin(pub Box<dyn Erased>);

impl Runner for Builtin {
    fn run(&self, items: &[Vec<u8>]) -> Vec<Result<Outcome, Error>> {
        let one = |item: &Vec<u8>| contained(|| self.0.run(&frame::decode_invocation(item)?));
        items.iter().map(one).collect()
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Option<Vec<u8>>, Error>> {
        records.iter().map(|record| contained(|| self.0.ask(operation, record))).collect()
    }
}

fn contained<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(reason_of(panic.as_ref())))
}
