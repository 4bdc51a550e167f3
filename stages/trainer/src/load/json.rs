//! The `tojson` filter as transformers defines it: JSON as Python's `json.dumps(ensure_ascii=False)` writes it.

use minijinja::value::Kwargs;
use minijinja::{Error, Value, filters};

/// minijinja's own filter, less its protection against HTML, which transformers leaves out.
pub(super) fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    // Accepted and without effect: this is how the text is written anyway.
    let _: Option<bool> = options.get("ensure_ascii")?;
    let indent = indent.or(options.get("indent")?);
    options.assert_all_used()?;
    let escaped = filters::tojson(value, indent, Kwargs::from_iter(std::iter::empty::<(String, Value)>()))?;
    Ok(Value::from(unescape_html(escaped.as_str().unwrap_or_default())))
}

/// Puts back the characters that were written as `\u0026`, `\u0027`, `\u003c` and `\u003e`.
fn unescape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let plain = [("\\u0026", '&'), ("\\u0027", '\''), ("\\u003c", '<'), ("\\u003e", '>')];
        let len = match plain.iter().find(|(code, _)| escape.starts_with(code)) {
            Some((code, character)) => {
                out.push(*character);
                code.len()
            }
            // A backslash and what it escapes stay together, or `\\u003c` (a backslash in the text) would be taken apart.
            None => {
                let len = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&escape[..len]);
                len
            }
        };
        rest = &escape[len..];
    }
    out + rest
}
