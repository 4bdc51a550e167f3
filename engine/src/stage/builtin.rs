//! A stage that is linked into the program: the same trait, the same containment, no border.

use std::panic::{AssertUnwindSafe, catch_unwind};

use obvert_api::abi::reason_of;
use obvert_api::erased::Erased;
use obvert_api::erased::Kind;
use obvert_api::{Error, Invocation, Operation, Outcome};

use super::chain::{Kind as Together, Link};
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
        batch
            .iter()
            .map(|work| {
                contained(|out| self.stage.run(&Invocation::of(self.kind, work.item, work.replies.to_vec())?, out))
            })
            .collect()
    }

    fn ask(&self, operation: Operation, records: &[&[u8]]) -> Vec<Result<Outcome, Error>> {
        records.iter().map(|record| contained(|out| self.stage.ask(operation, record, out))).collect()
    }

    fn link(&self) -> Link<'_> {
        Link(Together::Linked(&*self.stage))
    }
}

fn contained(work: impl FnOnce(&mut Outcome) -> Result<(), Error>) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let done = catch_unwind(AssertUnwindSafe(|| work(&mut outcome)));
    done.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()))).map(|()| outcome)
}
