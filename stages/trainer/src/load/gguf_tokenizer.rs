//! A GGUF file's byte-level BPE tokenizer, written as the tokenizer.json that it was made from.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::gguf::{GgufFile, Value};
use crate::Error;

/// llama.cpp's token types that are matched in the text before anything else.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// What llama.cpp does when a file does not say (`LLAMA_VOCAB_PRE_TYPE_DEFAULT`): one pattern after the other.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// The tokenizer.json of the file's tokenizer.
pub(super) fn tokenizer_json(file: &GgufFile) -> Result<Json, Error> {
    let kind = file.text("tokenizer.ggml.model").ok_or_else(|| missing(file, "tokenizer.ggml.model"))?;
    if kind != "gpt2" {
        return Err(file.source.error(Error::unsupported(
            "tokenizer.ggml.model",
            kind,
            "\"gpt2\" (byte-level BPE) is",
        )));
    }
    let pre = file.text("tokenizer.ggml.pre").unwrap_or("default");
    let tokens = texts(file, "tokenizer.ggml.tokens")?;
    Ok(json!({
        "version": "1.0",
        "added_tokens": added_tokens(file, tokens)?,
        "normalizer": normalizer(pre),
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": pre_tokenizers(file, pre)? },
        "decoder": bytes(true),
        "model": {
            "type": "BPE",
            "vocab": tokens.iter().zip(0_u32..).collect::<BTreeMap<_, _>>(),
            "merges": merges(file)?,
            "ignore_merges": is_llama3(pre),
        },
    }))
}

fn is_llama3(pre: &str) -> bool {
    matches!(pre, "llama-bpe" | "llama3" | "llama-v3")
}

fn is_qwen2(pre: &str) -> bool {
    matches!(pre, "qwen2" | "deepseek-r1-qwen")
}

/// Qwen2's tokenizer composes characters first; GGUF does not say so.
fn normalizer(pre: &str) -> Json {
    if is_qwen2(pre) { json!({ "type": "NFC" }) } else { Json::Null }
}

fn pre_tokenizers(file: &GgufFile, pre: &str) -> Result<Vec<Json>, Error> {
    Ok(match pre {
        "gpt-2" | "gpt2" => vec![bytes(true)],
        "smollm" => vec![json!({ "type": "Digits", "individual_digits": true }), bytes(true)],
        "default" => DEFAULT.into_iter().map(split).chain([bytes(false)]).collect(),
        _ if is_llama3(pre) => vec![split(LLAMA3), bytes(false)],
        _ if is_qwen2(pre) => vec![split(QWEN2), bytes(false)],
        _ => {
            let reason = "default, gpt-2, smollm, llama-bpe and qwen2 are";
            return Err(file.source.error(Error::unsupported("tokenizer.ggml.pre", pre, reason)));
        }
    })
}

fn split(pattern: &str) -> Json {
    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
}

fn bytes(use_regex: bool) -> Json {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn added_tokens(file: &GgufFile, tokens: &[String]) -> Result<Vec<Json>, Error> {
    let key = "tokenizer.ggml.token_type";
    let Some(Value::Integers(types)) = file.get(key) else {
        return Err(missing(file, key));
    };
    if types.len() != tokens.len() {
        return Err(file.source.error(format!("metadata {key}: {} entries for {} tokens", types.len(), tokens.len())));
    }
    let marked = tokens.iter().zip(types).enumerate().filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].contains(kind));
    Ok(marked.map(|(id, (text, kind))| added_token(id, text, *kind == CONTROL)).collect())
}

fn added_token(id: usize, text: &str, special: bool) -> Json {
    json!({
        "id": id, "content": text, "special": special,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// "left right" pairs; the space that divides them is never the first character.
fn merges(file: &GgufFile) -> Result<Vec<(&str, &str)>, Error> {
    let key = "tokenizer.ggml.merges";
    let divide = |text: &'_ String| text.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
    texts(file, key)?
        .iter()
        .map(|text| {
            let at =
                divide(text).ok_or_else(|| file.source.error(format!("metadata {key}: {text:?} is not a pair")))?;
            Ok((&text[..at], &text[at + 1..]))
        })
        .collect()
}

fn texts<'a>(file: &'a GgufFile, key: &str) -> Result<&'a [String], Error> {
    match file.get(key) {
        Some(Value::Texts(texts)) => Ok(texts),
        _ => Err(missing(file, key)),
    }
}

fn missing(file: &GgufFile, key: &str) -> Error {
    file.source.error(format!("metadata {key}: missing or of another type"))
}
