//! What Python sees otherwise than minijinja: the separators U+001C to U+001F are white space, None is not iterable.

use std::borrow::Cow;

use minijinja::value::from_args;
use minijinja::{Error, State, Value, tests};

fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// `text.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `text.lstrip()`.
pub(super) fn strip_start(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// Jinja's filter `trim`.
pub(super) fn trim(text: Cow<'_, str>, characters: Option<Cow<'_, str>>) -> String {
    match characters {
        Some(characters) => text.trim_matches(|c| characters.contains(c)).to_owned(),
        None => strip(&text).to_owned(),
    }
}

/// Jinja's test `iterable`: templates ask it of `tools`, which are None, before they ask for their `length`.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && tests::is_iterable(value)
}

/// Python's methods of values, where minijinja has none.
pub(super) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let stripped = match (value.as_str(), name) {
        (Some(text), "strip") => strip(text),
        (Some(text), "lstrip") => strip_start(text),
        (Some(text), "rstrip") => text.trim_end_matches(is_space),
        _ => return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    };
    match from_args(args)? {
        (None::<&str>,) => Ok(Value::from(stripped)),
        (Some(_),) => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}
