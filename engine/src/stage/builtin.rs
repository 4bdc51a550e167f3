//! A stage that is linked into the program: the same trait, the same containment, no border.

use std::panic::{AssertUnwindSafe, catch_unwind};

use obvert_api::abi::reason_of;
use obvert_api::erased::{Erased, Kind, Sink};
use obvert_api::{Error, Invocation, Level, Operation, Outcome, Request};

use super::chain::{Kind as Together, Link};
use super::{Runner, Work, said};

/// Runs a linked stage.
pub struct Builtin {
    /// What it is called in pipelines.
    pub name: String,
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
                contained(|outcome| {
                    let item = Invocation::of(self.kind, work.item, work.replies.to_vec())?;
                    self.stage.run(&item, &mut Answering { outcome, kind: &self.name, item: work.item })
                })
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

/// Takes what comes of an item, and logs what is said of it.
struct Answering<'a> {
    outcome: &'a mut Outcome,
    kind: &'a str,
    item: &'a [u8],
}

impl Sink for Answering<'_> {
    fn record(&mut self, record: &[u8]) {
        self.outcome.record(record);
    }

    fn request(&mut self, request: Request) {
        self.outcome.request(request);
    }

    fn log(&mut self, level: Level, message: &str) {
        said::line(self.kind, Some(self.item), level as u32, message);
    }
}

fn contained(work: impl FnOnce(&mut Outcome) -> Result<(), Error>) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let done = catch_unwind(AssertUnwindSafe(|| work(&mut outcome)));
    done.unwrap_or_else(|panic| Err(reason_of(panic.as_ref()))).map(|()| outcome)
}
