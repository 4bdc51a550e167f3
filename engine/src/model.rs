//! Models, and the endpoints that call them: a bounded pool, each distinct call made once, replies durable before use.

mod endpoint;
mod scripted;

use std::collections::BTreeMap;
use std::sync::Arc;

use obvert_api::{Reply, Request};

pub(crate) use endpoint::{Call, Endpoint, Limits, Named, Owners, ReplyTo, Ticket, Via, owner, ticket, ticket_of};
pub use endpoint::{Explanation, Usage};
pub use scripted::Scripted;

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
    /// Answers each request, in order.
    fn call(&self, requests: &[Request]) -> Vec<Result<Reply, String>>;
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
