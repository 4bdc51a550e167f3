//! The keywords that look at one value.

use std::fmt::Display;

use obvert_api::Secret;
use serde_json::{Number, Value as Json};

use super::super::hint::{hint, list};
use super::super::report::Problem;
use super::super::tree::{Node, Value};
use super::{Context, members};

/// The types that a schema allows; empty for any.
pub(super) fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one.as_str()],
        Some(Json::Array(_)) => members(schema, "type").filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a value has one of the types (an integer is a number too); no types mean any.
pub(super) fn is_one_of(node: &Node, types: &[&str]) -> bool {
    let found = node.type_name();
    types.is_empty() || types.contains(&found) || (found == "integer" && types.contains(&"number"))
}

pub(super) fn wrong_type(node: &Node, schema: &Json, name: &str) -> Option<Problem> {
    let types = types(schema);
    (!is_one_of(node, &types)).then(|| mismatch(node, &types, name))
}

/// "`turns` expects an integer, found a string".
pub(super) fn mismatch(node: &Node, types: &[&str], name: &str) -> Problem {
    let expected: Vec<&str> = types.iter().filter(|one| **one != "null").map(|one| phrase(one)).collect();
    let expected = if expected.is_empty() { "no value".to_owned() } else { expected.join(" or ") };
    let found = match &node.value {
        Value::Number(number) if number.is_f64() => format!("the number {}", node.json()),
        _ => phrase(node.type_name()).to_owned(),
    };
    Problem::new(&node.place, format!("`{name}` expects {expected}, found {found}"))
}

fn phrase(type_name: &str) -> &str {
    match type_name {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        "array" => "an array",
        "object" => "a table",
        other => other,
    }
}

pub(super) fn format(schema: &Json) -> Option<&str> {
    schema.get("format")?.as_str()
}

pub(super) fn wrong_scalar(node: &Node, schema: &Json, name: &str, context: &Context<'_>) -> Option<Problem> {
    let allowed = literals(schema);
    if !allowed.is_empty() && !allowed.contains(&&node.json()) {
        return Some(not_allowed(node, &allowed, name));
    }
    match &node.value {
        Value::Number(number) => wrong_number(node, number, schema, name),
        Value::String(text) => wrong_string(node, text, schema, name, context),
        _ => None,
    }
}

/// The values that `enum` or `const` list; empty for any.
pub(super) fn literals(schema: &Json) -> Vec<&Json> {
    members(schema, "enum").chain(schema.get("const")).collect()
}

pub(super) fn not_allowed(node: &Node, allowed: &[&Json], name: &str) -> Problem {
    let allowed: Vec<&Json> = allowed.iter().copied().filter(|value| !value.is_null()).collect();
    let found = plain(&node.json());
    let help = format!("it can be: {}", named(&allowed));
    Problem::new(&node.place, format!("`{name}` cannot be `{found}`")).help(help)
}

/// The values as messages name them.
pub(super) fn named(values: &[&Json]) -> String {
    list(&values.iter().map(|value| plain(value)).collect::<Vec<_>>())
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn wrong_number(node: &Node, number: &Number, schema: &Json, name: &str) -> Option<Problem> {
    let value = number.as_f64()?;
    let limit = |keyword: &str| schema.get(keyword).and_then(Json::as_f64);
    let (low, high) = width(number, schema);
    let broken = (limit("minimum").filter(|limit| value < *limit).map(|limit| format!("at least {limit}")))
        .or_else(|| limit("maximum").filter(|limit| value > *limit).map(|limit| format!("at most {limit}")))
        .or_else(|| limit("exclusiveMinimum").filter(|limit| value <= *limit).map(|limit| format!("above {limit}")))
        .or_else(|| limit("exclusiveMaximum").filter(|limit| value >= *limit).map(|limit| format!("below {limit}")))
        .or_else(|| low.map(|low| format!("at least {low}")))
        .or_else(|| high.map(|high| format!("at most {high}")))?;
    Some(Problem::new(&node.place, format!("`{name}` must be {broken}, found {number}")))
}

/// The end of the range of the integer type that `format` names, if the number lies beyond it.
fn width(number: &Number, schema: &Json) -> (Option<i128>, Option<i128>) {
    let range = match format(schema) {
        Some("uint8") => 0..=i128::from(u8::MAX),
        Some("uint16") => 0..=i128::from(u16::MAX),
        Some("uint32") => 0..=i128::from(u32::MAX),
        Some("uint64" | "uint") => 0..=i128::from(u64::MAX),
        Some("int8") => i128::from(i8::MIN)..=i128::from(i8::MAX),
        Some("int16") => i128::from(i16::MIN)..=i128::from(i16::MAX),
        Some("int32") => i128::from(i32::MIN)..=i128::from(i32::MAX),
        Some("int64" | "int") => i128::from(i64::MIN)..=i128::from(i64::MAX),
        _ => return (None, None),
    };
    let value = number.as_i128();
    let beyond = |broken: bool, end: &i128| broken.then_some(*end);
    (
        beyond(value.is_some_and(|value| value < *range.start()), range.start()),
        beyond(value.is_some_and(|value| value > *range.end()), range.end()),
    )
}

fn wrong_string(node: &Node, text: &str, schema: &Json, name: &str, context: &Context<'_>) -> Option<Problem> {
    let length = text.chars().count() as u64;
    if let Some(problem) = wrong_variable(node, text, format(schema) == Some("secret"), name) {
        return Some(problem);
    }
    if format(schema) == Some("model") && !context.models.contains(&text) {
        let help = hint(text, context.models.iter().copied(), "the models are");
        let help = help.or_else(|| Some(format!("define it: [model.{text}]")));
        return Some(Problem::new(&node.place, format!("no model is called `{text}`")).help(help));
    }
    wrong_count(length, schema, ["minLength", "maxLength"], "characters")
        .map(|broken| Problem::new(&node.place, format!("`{name}` {broken}")))
}

/// A secret stands in the environment; nothing else does.
fn wrong_variable(node: &Node, text: &str, secret: bool, name: &str) -> Option<Problem> {
    let help = "write `${env:NAME}`, and set NAME in the environment".to_owned();
    match (secret, Secret::variable(text)) {
        (true, None) => {
            let message = format!("`{name}` is a secret: it does not belong into a file");
            Some(Problem::new(&node.place, message).help(help).hidden())
        }
        (true, Some(variable)) => {
            let message = || format!("the environment has no `{variable}`");
            std::env::var_os(variable).is_none().then(|| Problem::new(&node.place, message()))
        }
        (false, _) if text.contains("${env:") => {
            let help = "only secrets are read from the environment; `--set` is for the rest".to_owned();
            Some(Problem::new(&node.place, format!("`{name}` takes no variable")).help(help))
        }
        (false, _) => None,
    }
}

pub(super) fn wrong_length(items: &[Node], node: &Node, schema: &Json, name: &str) -> Option<Problem> {
    wrong_count(items.len() as u64, schema, ["minItems", "maxItems"], "items")
        .map(|broken| Problem::new(&node.place, format!("`{name}` {broken}")))
}

fn wrong_count(count: u64, schema: &Json, [least, most]: [&str; 2], what: &str) -> Option<String> {
    let limit = |keyword: &str| schema.get(keyword).and_then(Json::as_u64);
    let needs = |bound: &str, limit: &dyn Display| format!("needs at {bound} {limit} {what}, found {count}");
    match (limit(least), limit(most)) {
        (Some(1), _) if count == 0 => Some("must not be empty".to_owned()),
        (Some(least), _) if count < least => Some(needs("least", &least)),
        (_, Some(most)) if count > most => Some(needs("most", &most)),
        _ => None,
    }
}
