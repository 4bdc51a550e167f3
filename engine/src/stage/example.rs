//! A created stage, as the one who runs its examples sees it.

use obvert_api::erased::Kind;
use obvert_api::example::Examined;
use obvert_api::{Error, Operation, Outcome, Reply};

use super::{Runner, Work};

/// A stage of that kind.
pub(crate) struct Shown<'a>(pub(crate) Kind, pub(crate) &'a dyn Runner);

impl Examined for Shown<'_> {
    fn kind(&self) -> Kind {
        self.0
    }

    fn run(&self, item: &[u8], replies: &[Reply]) -> Result<Outcome, Error> {
        only(self.1.run(&[Work { item, replies }]))
    }

    fn ask(&self, operation: Operation, record: &[u8]) -> Result<Outcome, Error> {
        only(self.1.ask(operation, &[record]))
    }
}

/// The answer for the one item that there was.
pub(super) fn only(mut answers: Vec<Result<Outcome, Error>>) -> Result<Outcome, Error> {
    answers.pop().unwrap_or_else(|| Err(Error::new("the stage gave no answer")))
}
