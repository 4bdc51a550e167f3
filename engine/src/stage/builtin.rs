//! A stage that is linked into the program: the same trait, the same containment, no border.

use std::panic::{AssertUnwindSafe, catch_unwind};

use obvert_api::abi::reason_of;
use obvert_api::erased::Erased;
use obvert_api::erased::Kind;
use obvert_api::{Error, Invocation, Operation, Outcome, frame};

use super::{Runner, Work};

/// Runs a linked stage.
pub struct Builtin {
    /// The stage.
    pub stage: Box<dyn Erased>,
    /// Whether it is a map or a group.
    pub kind: Kind,
}

impl Runner for Builtin {
    fn run(&self, batch: &[Work<'_>]) -> Vec<Result<Outcome, Error>> {
        batch.iter().map(|work| contained(|| self.stage.run(&self.invocation(work)?))).collect()
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Option<Vec<u8>>, Error>> {
        records.iter().map(|record| contained(|| self.stage.ask(operation, record))).collect()
    }
}

impl Builtin {
    fn invocation<'a>(&self, work: &Work<'a>) -> Result<Invocation<'a>, Error> {
        let replies = work.replies.to_vec();
        match self.kind {
            Kind::Map => Ok(Invocation { key: "", records: vec![work.item], with: Vec::new(), replies }),
            Kind::Group => Ok(Invocation { replies, ..frame::decode_invocation(work.item)? }),
        }
    }
}

fn contained<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(reason_of(panic.as_ref())))
}
