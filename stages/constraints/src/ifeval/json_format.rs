//! `detectable_format:json_format`: a response in JSON.

use serde::de::IgnoredAny;

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "detectable_format:json_format", fields: &[], build };

/// The text, but for markdown ticks around it, is one JSON value as Python reads it: NaN, Infinity,
/// -Infinity, numbers of any size and lone surrogates included.
struct JsonFormat;

const OPENINGS: [&str; 4] = ["```json", "```Json", "```JSON", "```"];

fn build(_: &Args) -> Result<Parsed, Error> {
    Ok(JsonFormat.into())
}

impl Rule for JsonFormat {
    fn holds(&self, text: &str) -> bool {
        let body = OPENINGS.iter().fold(strip(text), |rest, opening| rest.strip_prefix(opening).unwrap_or(rest));
        let body = strip(body.strip_suffix("```").unwrap_or(body));
        serde_json::from_str::<IgnoredAny>(&without_constants(body)).is_ok()
    }

    fn text(&self, negated: bool) -> String {
        demand("Give the entire response as valid JSON.", negated)
    }
}

/// `json` with Python's three constants replaced by a number. The spaces keep it apart from its
/// neighbours, so that what was invalid stays so.
fn without_constants(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let constant = ["-Infinity", "Infinity", "NaN"].into_iter().find(|constant| rest.starts_with(constant));
        let (taken, replacement) = match constant {
            Some(constant) => (constant.len(), Some(" 0 ")),
            None if c == '"' => (string_length(rest), None),
            None => (c.len_utf8(), None),
        };
        let (token, after) = rest.split_at(taken);
        out.push_str(replacement.unwrap_or(token));
        rest = after;
    }
    out
}

/// Bytes of the string literal at the start of `json`, its quotes included.
fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}
