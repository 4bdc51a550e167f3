//! The two kinds of stage that a plugin can be.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::form::Talk;
use crate::{Example, Record, Reply, Request};

/// How often a stage may ask for replies before it is taken to ask for ever.
pub const MOST_ROUNDS: usize = 64;

/// Why a stage could not handle an item; the item is set aside with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    /// An error from anything that can be shown.
    pub fn new(cause: impl std::fmt::Display) -> Self {
        Error(cause.to_string())
    }
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// Something went wrong.
    Error = 1,
    /// Something is not as one would expect.
    Warn,
    /// Something that people may want to know.
    Info,
    /// For whoever looks for a mistake.
    Debug,
    /// All the rest.
    Trace,
}

/// Where a stage puts what it makes of one item.
#[derive(Debug)]
pub struct Output<T> {
    pub(crate) emitted: SmallVec<[T; 1]>,
    pub(crate) requests: Vec<Request>,
    pub(crate) logged: Vec<(Level, String)>,
}

impl<T> Default for Output<T> {
    fn default() -> Self {
        Output { emitted: SmallVec::new(), requests: Vec::new(), logged: Vec::new() }
    }
}

impl<T> Output<T> {
    /// Sends a record on. Records of a run that also requests or fails are discarded: the last run of an item counts.
    pub fn emit(&mut self, record: T) {
        self.emitted.push(record);
    }

    /// Asks a model; the stage runs again on the same item with the reply appended to its replies.
    pub fn request(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// Says something in the run's log, where it stands with the stage's name and the record's id. A stage that runs again on an item says
    /// it again. It is for what is rare: an item of which something is said is run stage by stage, and not together with the stages
    /// around it, even where nobody reads the line.
    pub fn log(&mut self, level: Level, message: impl Into<String>) {
        self.logged.push((level, message.into()));
    }

    /// The stage's questions on this item, of which these were answered: see [`Talk`].
    pub fn talk<'r>(&mut self, replies: &'r [Reply]) -> Talk<'r, '_> {
        Talk::new(replies, &mut self.requests)
    }

    /// What was emitted, for tests.
    pub fn emitted(&self) -> &[T] {
        &self.emitted
    }

    /// What was said in the log, for tests.
    pub fn logged(&self) -> &[(Level, String)] {
        &self.logged
    }

    /// What was requested, for tests.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }
}

/// A stage that handles records one by one. Its settings are its fields.
///
/// **Contract**: `map` is a pure function of the settings, the input and the replies. The host may run it again at
/// any time (to retract what it made, after a restart, on another worker) and relies on the same answer.
pub trait Map: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The `type` by which pipelines name the stage.
    const NAME: &'static str;
    /// The record it takes.
    type In: Record;
    /// The record it makes.
    type Out: Record;

    /// Refuses settings that their types alone cannot rule out.
    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What the stage makes of a few items: shown and run by `obvert plugin check`, and by [`crate::testing::examples`].
    fn examples() -> Vec<Example> {
        Vec::new()
    }

    /// Handles one record. `replies` holds the answers to everything requested for it so far, in order; it is
    /// empty on the first run. The run that requests nothing more is the last, and what it emits goes on.
    fn map(&self, input: Self::In, replies: &[Reply], out: &mut Output<Self::Out>) -> Result<(), Error>;
}

/// A stage that handles all records of a key together, again whenever the group changes. Its settings are its fields.
///
/// **Contract**: as for [`Map`], and all key functions are pure. Records of a group come in a fixed order that does
/// not depend on arrival, equal ones as often as they are there. See [`Group::WITHIN_ROW`] for when a group is run.
pub trait Group: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The `type` by which pipelines name the stage.
    const NAME: &'static str;
    /// The record it groups.
    type In: Record;
    /// The record of its side input; [`crate::Nothing`] for none.
    type With: Record;
    /// The record it makes.
    type Out: Record;
    /// Whether all records of a group come from one row of a source. Such a group is run as soon as nothing is at work on its
    /// turn; any other waits until nothing at all is at work upstream, since the next row may belong to it.
    const WITHIN_ROW: bool = false;

    /// Refuses settings that their types alone cannot rule out.
    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What the stage makes of a few items: shown and run by `obvert plugin check`, and by [`crate::testing::examples`].
    fn examples() -> Vec<Example> {
        Vec::new()
    }

    /// The group that a record belongs to.
    fn key(&self, record: &Self::In) -> String;

    /// The key of the side records that a record wants in its group.
    fn looks_up(&self, _record: &Self::In) -> Option<String> {
        None
    }

    /// The key by which a side record is looked up.
    fn with_key(&self, _record: &Self::With) -> String {
        String::new()
    }

    /// Handles one group.
    fn group(
        &self,
        key: &str,
        records: Vec<Self::In>,
        with: Vec<Self::With>,
        replies: &[Reply],
        out: &mut Output<Self::Out>,
    ) -> Result<(), Error>;
}
