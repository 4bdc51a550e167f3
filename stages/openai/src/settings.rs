//! Settings of `kind = "openai"`.

use obvert_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A server, and a model of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the server is, up to the version: `https://api.openai.com/v1`, `http://localhost:8000/v1`.
    pub base_url: String,
    /// The model's name there.
    #[schemars(length(min = 1))]
    pub model: String,
    /// Its key, sent as a bearer token.
    pub key: Option<Secret>,
    /// How a reply is held to the form that a stage wants. It is looked at in any case.
    #[serde(default)]
    pub structured: Structured,
    /// How the server is handed a LoRA adapter to answer with, such as the one that is being trained.
    #[serde(default)]
    pub adapters: Adapters,
    /// Samples of one prompt that a call may ask for at once, where the server knows `n`: the prompt is paid for once.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 128))]
    pub n: usize,
    /// The field that bounds a reply's length: some servers want `max_completion_tokens`.
    #[serde(default = "max_tokens")]
    pub max_tokens_field: String,
    /// Fields of a request that are not sent, where the server does not know them: `seed`, `top_p`, `temperature`.
    #[serde(default)]
    pub omit: Vec<String>,
    /// Further fields of every request, such as `top_k`.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

/// How a server is told the form of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// By the best of these that it does not refuse.
    #[default]
    Auto,
    /// By `response_format` with the JSON schema.
    JsonSchema,
    /// By `response_format` as any JSON object.
    JsonObject,
    /// By the prompt alone.
    None,
}

/// How a server is handed adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Adapters {
    /// Not at all.
    #[default]
    None,
    /// By `load_lora_adapter`, as vLLM takes them with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora: it reads the folder,
    /// so it has to see the same disk.
    Vllm,
}

fn one() -> usize {
    1
}

fn max_tokens() -> String {
    "max_tokens".into()
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// The address is none, or holds what is secret.
    pub fn read(settings: &Value) -> Result<Self, String> {
        let mut settings = Settings::deserialize(settings).map_err(|error| error.to_string())?;
        let rest = ["http://", "https://"].iter().find_map(|scheme| settings.base_url.strip_prefix(scheme));
        let rest = rest.ok_or("`base_url` begins with http:// or https://")?;
        let host = rest.split('/').next().unwrap_or_default();
        if host.is_empty() {
            return Err("`base_url` names no server".into());
        }
        if host.contains('@') || rest.contains(['?', '#']) {
            return Err(
                "`base_url` is an address and no more: a key belongs into the environment, key = \"${env:NAME}\""
                    .into(),
            );
        }
        settings.base_url.truncate(settings.base_url.trim_end_matches('/').len());
        Ok(settings)
    }

    /// What replies depend on, besides the request.
    pub(crate) fn identity(&self) -> String {
        let Settings { base_url, model, structured, omit, extra, .. } = self;
        format!("openai {base_url} {model} {structured:?} {omit:?} {}", Value::Object(extra.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_is_one_and_holds_no_secret() {
        let read =
            |url: &str| Settings::read(&json!({ "base_url": url, "model": "m" })).map(|settings| settings.base_url);
        assert_eq!(read("http://localhost:8000/v1/").as_deref(), Ok("http://localhost:8000/v1"));
        for (url, said) in [
            ("localhost:8000", "begins with"),
            ("https://", "names no server"),
            ("https://me:secret@host/v1", "a key belongs into the environment"),
            ("https://host/v1?key=secret", "a key belongs into the environment"),
        ] {
            let refused = read(url).unwrap_err();
            assert!(refused.contains(said) && !refused.contains("secret@"), "{url}: {refused}");
        }
    }
}
