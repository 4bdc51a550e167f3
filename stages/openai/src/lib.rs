//! Servers that speak as OpenAI's does (chat completions), as models of a pipeline.

mod adapters;
mod client;
mod failure;
mod names;
mod probe;
mod reply;
mod request;
mod settings;

use std::sync::Arc;

use obvert_engine::Registry;
use obvert_engine::model::Model;

pub use client::Client;
pub use settings::{Adapters, Settings, Structured};

/// Adds the model kind `openai`.
pub fn register(registry: &mut Registry) {
    let check = |settings: &serde_json::Value| Settings::read(settings).map(drop);
    let open = |settings: &serde_json::Value| Ok(Arc::new(Client::open(Settings::read(settings)?)?) as Arc<dyn Model>);
    registry.add_model("openai", schemars::schema_for!(Settings).to_value(), Arc::new(check), Arc::new(open));
}
