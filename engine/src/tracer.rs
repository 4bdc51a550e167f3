//! Where time goes that models take: whoever traces a run is told of each item that waited for them, and of each call.

use std::time::SystemTime;

use obvert_api::Reply;

use crate::model::Failure;

/// Is told of what has ended, on any thread, and at its cost.
pub trait Tracer: Send + Sync {
    /// A run begins: at this time, by the clock of its first process, which tells all others.
    fn begin(&self, at: SystemTime);
    /// A stage waited for models with an item.
    fn item(&self, item: &Waited<'_>);
    /// A model was called.
    fn call(&self, call: &Called<'_>);
}

/// An item of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// The record's id.
    pub record: &'a str,
    /// The row of a source that it all came of.
    pub root: u64,
    /// The lap of the turn loop.
    pub lap: u32,
    /// Since when it waits for models: an item that comes again waits anew.
    pub since: SystemTime,
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
}

impl Took {
    /// From then to now.
    pub(crate) fn since(begun: SystemTime) -> Took {
        Took { begun, ended: SystemTime::now() }
    }
}

/// An item that waited for models.
#[derive(Clone, Copy, Debug)]
pub struct Waited<'a> {
    /// Which.
    pub whose: Whose<'a>,
    /// When it had its outcome.
    pub ended: SystemTime,
    /// What that is.
    pub became: Became<'a>,
}

/// What has become of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became<'a> {
    /// So many records.
    Records(usize),
    /// It was set aside, for this reason.
    SetAside(&'a str),
    /// It was withdrawn while it waited.
    Withdrawn,
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Called<'a> {
    /// For which item; others may wait for the same call.
    pub whose: Whose<'a>,
    /// The model's name in the pipeline.
    pub model: &'a str,
    /// Which of several samples.
    pub sample: u32,
    /// The how manieth attempt it is, from 1.
    pub attempt: u32,
    /// With the model, alone or with others in one batch.
    pub took: Took,
    /// What came of it.
    pub answer: Result<&'a Reply, &'a Failure>,
}
