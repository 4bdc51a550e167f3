//! Effects as data: what a stage asks of a model, and what it is told.

use serde::{Deserialize, Serialize};

use crate::Json;
use crate::record::Message;

/// How a reply is sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Longest reply, in tokens.
    pub max_tokens: u32,
    /// Seed of the draw; together with `Request::sample` it makes a local model's reply reproducible.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 0.0, top_p: 1.0, max_tokens: 1024, seed: 0 }
    }
}

/// A call to a model that the host performs for a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Name of the `[model.NAME]` table.
    pub model: String,
    /// The chat so far; the reply is the assistant's next message.
    pub messages: Vec<Message>,
    /// How to sample.
    #[serde(default)]
    pub sampling: Sampling,
    /// Index among several samples of the same request, from 0.
    #[serde(default)]
    pub sample: u32,
    /// Folder of a LoRA adapter to answer with, if any.
    #[serde(default)]
    pub adapter: Option<String>,
    /// JSON schema that the reply should follow, where the model can be held to one.
    #[serde(default)]
    pub schema: Option<Json>,
}

impl Request {
    /// A request with temperature 0 and no adapter.
    pub fn new(model: &str, messages: Vec<Message>) -> Self {
        Request {
            model: model.to_string(),
            messages,
            sampling: Sampling::default(),
            sample: 0,
            adapter: None,
            schema: None,
        }
    }
}

/// A model's answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The assistant's message.
    pub text: String,
    /// Tokens of the prompt, as the model counted them.
    pub prompt_tokens: u32,
    /// Tokens of the reply.
    pub reply_tokens: u32,
    /// Whether the model ended the message itself; false where `max_tokens` cut it.
    #[serde(default = "whole")]
    pub finished: bool,
}

fn whole() -> bool {
    true
}
