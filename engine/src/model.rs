//! Models, and the endpoints that call them: a bounded pool, each distinct call made once, replies durable before use.

mod endpoint;
mod limits;
mod scripted;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use obvert_api::{Reply, Request};

pub use endpoint::Explanation;
pub(crate) use endpoint::{Call, Endpoint, Named, Owners, ReplyTo, Ticket, Via, owner, ticket, ticket_of};
pub use limits::{Budget, Limits, Price};
pub use scripted::Scripted;
pub use usage::{ByStage, Usage};

/// Something that answers requests.
pub trait Model: Send + Sync {
    /// What the replies depend on besides the request: weights, script, server and model name.
    fn identity(&self) -> String;
    /// Calls that may run at the same time.
    fn lanes(&self) -> usize {
        1
    }
    /// Requests that one call takes at most.
    fn batch(&self) -> usize {
        1
    }
    /// Whether a call may take a request beside its first one.
    fn joins(&self, _first: &Request, _next: &Request) -> bool {
        true
    }
    /// How often a call that failed is made again, where the pipeline does not say.
    fn retries(&self) -> u32 {
        0
    }
    /// Looks what it can do, by asking it.
    fn probe(&self) -> Vec<Finding> {
        Vec::new()
    }
    /// Answers each request, in order. Who cannot do so within the time is given up.
    fn call(&self, requests: &[Request], within: Option<Duration>) -> Vec<Result<Reply, Failure>>;
}

/// What was found out about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How good that is.
    pub grade: Grade,
    /// For people.
    pub text: String,
}

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It can be done without.
    Poor,
    /// A run would fail.
    Bad,
}

impl Finding {
    /// As it should be.
    pub fn good(text: String) -> Self {
        Finding { grade: Grade::Good, text }
    }

    /// What can be done without.
    pub fn poor(text: String) -> Self {
        Finding { grade: Grade::Poor, text }
    }

    /// What keeps a run from its work.
    pub fn bad(text: String) -> Self {
        Finding { grade: Grade::Bad, text }
    }
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub cause: String,
    /// What to do about it.
    pub then: Then,
    /// Tokens, read and written, that were paid for even so.
    pub used: [u32; 2],
}

/// What to do when a call has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Make it again, after a pause that grows each time.
    Again,
    /// The same, but no other call begins before either: the model is asked too much. It may have said for how long.
    Wait(Option<Duration>),
    /// The same as `Again`: the model was not reached. Where it is not to the end, and answers nobody meanwhile, the run ends.
    Unreached,
    /// Leave it: it would fail again.
    Leave,
    /// End the run: all others would fail too.
    End,
}

impl Failure {
    /// Of that kind.
    pub fn new(cause: impl std::fmt::Display, then: Then) -> Self {
        Failure { cause: cause.to_string(), then, used: [0; 2] }
    }

    /// The same, with the tokens that it took.
    pub fn taking(self, used: [u32; 2]) -> Self {
        Failure { used, ..self }
    }
}

/// Tokens, read and written, that a call took.
pub(crate) fn used(answer: &Result<Reply, Failure>) -> [u64; 2] {
    let used = match answer {
        Ok(reply) => [reply.prompt_tokens, reply.reply_tokens],
        Err(failure) => failure.used,
    };
    used.map(u64::from)
}

/// One that may pass.
impl From<String> for Failure {
    fn from(cause: String) -> Self {
        Failure::new(cause, Then::Again)
    }
}

/// The models of a pipeline by name.
#[derive(Default)]
pub(crate) struct Endpoints(pub(crate) BTreeMap<String, Arc<Endpoint>>);

impl Endpoints {
    /// The endpoint of a model, or why there is none.
    pub(crate) fn get(&self, name: &str) -> Result<&Arc<Endpoint>, String> {
        self.0.get(name).ok_or_else(|| {
            let names: Vec<_> = self.0.keys().map(|name| format!("`{name}`")).collect();
            let known = if names.is_empty() { "it has none".into() } else { format!("it has {}", names.join(", ")) };
            format!("it asks for the model `{name}`, which the pipeline does not define: {known}")
        })
    }
}
