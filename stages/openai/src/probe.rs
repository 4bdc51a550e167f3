//! What a server can do, found out by asking it: for `obvert doctor`.

use std::time::{Duration, Instant};

use obvert_api::record::Message;
use obvert_api::{Json, Request};
use obvert_engine::model::{Failure, Finding};
use serde_json::{Value, json};

use crate::{Adapters, Client, Structured};

const WITHIN: Duration = Duration::from_secs(60);
/// What no model says by itself.
const WORD: &str = "quince-417";

/// Asks the server what it has, for a word, and for a reply of a given form.
pub(crate) fn probe(client: &Client) -> Vec<Finding> {
    let mut found = vec![listed(client)];
    let begin = Instant::now();
    match client.answer(&ask("Say hello.", None), WITHIN) {
        Ok(reply) => {
            let time = begin.elapsed().as_millis();
            found.push(Finding::good(format!("answers in {time} ms; {} tokens read", reply.prompt_tokens)));
            found.push(structured(client));
            found.push(adapters(client));
        }
        Err(failure) => found.push(Finding::bad(failure.cause)),
    }
    found
}

fn ask(text: &str, schema: Option<Value>) -> Request {
    let mut request = Request::new("probe", vec![Message::new("user", text)]);
    request.sampling.max_tokens = 32;
    request.schema = schema.map(Json);
    request
}

/// Whether the server lists the model, and how long its context is, where it says so.
fn listed(client: &Client) -> Finding {
    let model = &client.settings.model;
    let list = match client.ask("models", None, WITHIN) {
        Ok((status, body)) if status.is_success() => serde_json::from_slice::<Value>(&body).unwrap_or_default(),
        Ok((status, _)) => return Finding::poor(format!("lists no models ({status})")),
        Err(failure) => return Finding::bad(failure.cause),
    };
    let models = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = models.iter().filter_map(|model| model["id"].as_str()).collect();
    let Some(own) = models.iter().find(|other| other["id"] == **model) else {
        let shown = names.iter().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Finding::poor(format!("does not list `{model}`; it has {shown}"));
    };
    let context = [&own["max_model_len"], &own["context_length"], &own["meta"]["n_ctx_train"]];
    let context = context.into_iter().find_map(Value::as_u64);
    let context = context.map(|tokens| format!(", whose context is {tokens} tokens")).unwrap_or_default();
    Finding::good(format!("lists `{model}`{context}"))
}

/// Whether the server holds a reply to a schema, or leaves it to the model: asked for a word that the prompt does not name.
fn structured(client: &Client) -> Finding {
    if client.structured().1 == Structured::None {
        return Finding::good("is not asked for structured replies".into());
    }
    let schema = json!({
        "type": "object",
        "properties": { "fruit": { "type": "string", "enum": [WORD] } },
        "required": ["fruit"],
        "additionalProperties": false,
    });
    let answered = client.answer(&ask("Name a fruit, as JSON.", Some(schema)), WITHIN);
    // What it has refused is known now.
    let way = match client.structured().1 {
        Structured::Auto | Structured::JsonSchema => "a schema",
        Structured::JsonObject => "\"a JSON object\"",
        Structured::None => {
            return Finding::poor("refuses to be told the form of replies: they are checked here".into());
        }
    };
    match answered {
        Ok(reply) if serde_json::from_str::<Value>(reply.text.trim()).is_ok_and(|reply| reply["fruit"] == WORD) => {
            Finding::good("holds replies to a schema".into())
        }
        Ok(_) => Finding::poor(format!(
            "is told {way} as the form of replies, and does not hold them to a schema: they are checked here"
        )),
        Err(failure) => Finding::poor(format!("refuses {way}: {}", failure.cause)),
    }
}

/// Whether adapters can be loaded while the server runs (vLLM), or are listed (llama.cpp).
fn adapters(client: &Client) -> Finding {
    let there = |asked: Result<_, Failure>| {
        asked.is_ok_and(|(status, _): (ureq::http::StatusCode, _)| status != 404 && status != 405)
    };
    // It names none, so nothing is loaded.
    if there(client.ask("load_lora_adapter", Some(&json!({})), WITHIN)) {
        return match client.settings.adapters {
            Adapters::Vllm => Finding::good("can be handed adapters".into()),
            Adapters::None => Finding::good("could be handed adapters: set adapters = \"vllm\"".into()),
        };
    }
    match client.settings.adapters {
        Adapters::Vllm => Finding::poor("cannot be handed adapters".into()),
        Adapters::None => Finding::good("cannot be handed adapters".into()),
    }
}
