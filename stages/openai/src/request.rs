//! A request as a server takes it.

use obvert_api::Request;
use serde_json::{Map, Value, json};

use crate::{Settings, Structured};

/// Whether two requests differ in nothing but their samples.
pub(crate) fn samples_one(first: &Request, next: &Request) -> bool {
    Request { sample: first.sample, ..next.clone() } == *first
}

/// The body of a call for so many samples to a model of the server, the form of its reply told in this way.
pub(crate) fn body(
    settings: &Settings,
    model: &str,
    structured: Structured,
    request: &Request,
    samples: usize,
) -> Map<String, Value> {
    let sampling = &request.sampling;
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_string(), value));
    put("model", json!(model));
    put("messages", json!(request.messages));
    put("temperature", json!(shortest(sampling.temperature)));
    put(&settings.max_tokens_field, json!(sampling.max_tokens));
    if sampling.top_p < 1.0 {
        put("top_p", json!(shortest(sampling.top_p)));
    }
    if sampling.temperature > 0.0 {
        put("seed", json!(seed(request)));
    }
    if samples > 1 {
        put("n", json!(samples));
    }
    if let Some(format) = format(structured, request) {
        put("response_format", format);
    }
    settings.omit.iter().for_each(|name| drop(body.remove(name)));
    body.extend(settings.extra.clone());
    body
}

/// As people write it: 0.7 rather than 0.699999988079071.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// A number for each sample, that all servers can take.
fn seed(request: &Request) -> u64 {
    let mixed = request.sampling.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(request.sample));
    mixed & 0x7fff_ffff
}

fn format(structured: Structured, request: &Request) -> Option<Value> {
    let schema = request.schema.as_ref()?;
    match structured {
        Structured::Auto | Structured::JsonSchema => Some(json!({
            "type": "json_schema",
            "json_schema": { "name": "reply", "schema": schema.0, "strict": true },
        })),
        Structured::JsonObject => Some(json!({ "type": "json_object" })),
        Structured::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obvert_api::record::Message;
    use obvert_api::{Json, Sampling};

    #[test]
    fn a_call_says_what_it_must_and_no_more() {
        let settings = |more: Value| {
            let mut all = json!({ "base_url": "http://h/v1", "model": "m" });
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Settings::read(&all).unwrap()
        };
        let mut request = Request::new("judge", vec![Message::new("user", "yes?")]);
        let sent = |more: Value, request: &Request| {
            let settings = settings(more);
            Value::Object(body(&settings, &settings.model, settings.structured, request, 1))
        };
        let plain = json!({ "model": "m", "messages": [{ "role": "user", "content": "yes?" }], "temperature": 0.0, "max_tokens": 1024 });
        assert_eq!(sent(json!({}), &request), plain);
        request.sampling = Sampling { temperature: 0.7, top_p: 0.9, max_tokens: 5, seed: 3 };
        request.schema = Some(Json(json!({ "type": "object" })));
        let full = sent(json!({ "max_tokens_field": "max_completion_tokens", "extra": { "top_k": 4 } }), &request);
        assert_eq!(
            [&full["temperature"], &full["top_p"], &full["max_completion_tokens"], &full["top_k"]],
            [&json!(0.7), &json!(0.9), &json!(5), &json!(4)]
        );
        assert_eq!(full["response_format"]["json_schema"]["schema"], json!({ "type": "object" }));
        let first = full["seed"].as_u64().unwrap();
        request.sample = 1;
        let spare = sent(json!({ "structured": "none", "omit": ["top_p"] }), &request);
        assert!(
            spare["seed"].as_u64().unwrap() != first
                && spare.get("response_format").is_none()
                && spare.get("top_p").is_none()
        );
    }
}
