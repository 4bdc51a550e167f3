//! Chat templates, rendered as transformers renders them (`utils/chat_template_utils.py`): Jinja with `trim_blocks`,
//! `lstrip_blocks`, loop controls, Python's string methods, `raise_exception`, `strftime_now` and a `tojson` that does
//! not escape HTML.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, Output, State, Value, escape_formatter};
use serde_json::Value as Json;

use super::folder::{read_json, read_limited};
use super::gguf::{self, GgufFile};
use super::json::tojson;
use super::python;
use crate::Error;

const NAME: &str = "chat_template";
/// Where a GGUF file keeps its template.
pub(super) const GGUF_TEMPLATE: &str = "tokenizer.chat_template";
/// Special tokens that a template may name as variables.
const SPECIAL: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of a role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A model's chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Special tokens under the names templates use.
    variables: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compiles a template. `variables` are texts that it may name, such as `bos_token`.
    ///
    /// # Errors
    /// Says where the template's syntax is wrong.
    pub fn new(source: &str, variables: BTreeMap<String, String>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(describe)?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(python::method);
        environment.set_formatter(format_like_python);
        environment.add_filter("tojson", tojson);
        environment.add_filter("trim", python::trim);
        environment.add_test("iterable", python::is_iterable);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, without_generation_tags(source)).map_err(describe)?;
        Ok(Self { environment, variables })
    }

    /// Reads the template of a Hugging Face folder (chat_template.jinja, else tokenizer_config.json) or a GGUF file.
    ///
    /// # Errors
    /// Names the file that is missing, that has no template, or whose template does not compile.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (source, variables) = if path.is_dir() { from_folder(path)? } else { from_gguf(path)? };
        Self::new(&source, variables).map_err(|e| Error::malformed(path, e))
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant's next answer begins.
    ///
    /// # Errors
    /// What the template raises (many refuse roles that do not alternate), or cannot compute.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let template = self.environment.get_template(NAME).map_err(describe)?;
        let mut context: BTreeMap<&str, Value> =
            self.variables.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str()))).collect();
        context.insert("messages", messages.iter().map(as_value).collect());
        context.insert("add_generation_prompt", Value::from(add_generation_prompt));
        // transformers passes both as None, and templates ask `tools is not none`.
        context.insert("tools", Value::from(()));
        context.insert("documents", Value::from(()));
        template.render(Value::from_pairs(context)).map_err(describe)
    }
}

fn as_value(message: &Message) -> Value {
    Value::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())])
}

fn describe(error: minijinja::Error) -> Error {
    Error::field("chat template", format!("{error:#}"))
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Today's date and time on this machine, by a `strftime` format.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now())
        .map_err(|e| minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {e}")))
}

/// Python prints these three words with a capital.
fn format_like_python(out: &mut Output, state: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    match (value.kind(), value.is_true()) {
        (ValueKind::None, _) => out.write_str("None").map_err(minijinja::Error::from),
        (ValueKind::Bool, true) => out.write_str("True").map_err(minijinja::Error::from),
        (ValueKind::Bool, false) => out.write_str("False").map_err(minijinja::Error::from),
        _ => escape_formatter(out, state, value),
    }
}

/// `{% generation %}` … `{% endgeneration %}` mark the assistant's text for training; transformers renders what they hold.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag, after)) = next_tag(rest) {
        out.push_str(before);
        match tag.trim_matches(['{', '}', '%', '-', '+', ' ', '\n']) {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// The text before the next `{% … %}`, the tag, and what follows.
fn next_tag(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("{%")?;
    let end = start + text[start..].find("%}")? + 2;
    Some((&text[..start], &text[start..end], &text[end..]))
}

fn from_folder(folder: &Path) -> Result<(String, BTreeMap<String, String>), Error> {
    let config_path = folder.join("tokenizer_config.json");
    let config = read_json(&config_path)?.unwrap_or_default();
    let jinja = folder.join("chat_template.jinja");
    let source = if jinja.is_file() {
        String::from_utf8(read_limited(&jinja)?).map_err(|e| Error::malformed(&jinja, e))?
    } else {
        named_template(&config)
            .ok_or_else(|| Error::malformed(&config_path, "no chat_template, and no chat_template.jinja beside it"))?
    };
    let variables = SPECIAL.iter().filter_map(|name| Some(((*name).to_owned(), token_text(config.get(name)?)?)));
    Ok((source, variables.collect()))
}

/// The template alone, or the one called `default` of a list of named templates.
fn named_template(config: &Json) -> Option<String> {
    match config.get("chat_template")? {
        Json::String(source) => Some(source.clone()),
        Json::Array(list) => {
            let default = list.iter().find(|entry| entry.get("name").is_some_and(|name| name == "default"));
            default?.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// A token is written as its text, or as an object that describes it.
pub(super) fn token_text(json: &Json) -> Option<String> {
    json.as_str().or_else(|| json.get("content")?.as_str()).map(str::to_owned)
}

fn from_gguf(path: &Path) -> Result<(String, BTreeMap<String, String>), Error> {
    let file = GgufFile::open(path)?;
    let source =
        file.text(GGUF_TEMPLATE).ok_or_else(|| file.source.error(format!("metadata {GGUF_TEMPLATE}: missing")))?;
    Ok((source.to_owned(), gguf_variables(&file)))
}

/// The special tokens that a GGUF file names, under the names that templates use.
pub(super) fn gguf_variables(file: &GgufFile) -> BTreeMap<String, String> {
    let keys = ["bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"];
    let text = |key: &str| match file.get("tokenizer.ggml.tokens")? {
        gguf::Value::Texts(tokens) => tokens.get(file.token(&format!("tokenizer.ggml.{key}"))? as usize).cloned(),
        _ => None,
    };
    SPECIAL.iter().zip(keys).filter_map(|(name, key)| Some(((*name).to_owned(), text(key)?))).collect()
}
