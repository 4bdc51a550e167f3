//! Fills in the pages: minijinja with strict names and the number formats that they share.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::{Error, atomic};

/// A page or a part of one that pages include: its name and its text.
pub(super) type Source<'a> = (&'a str, &'a str);

/// Writes the first of the pages, filled in from `facts`, to `path`. Names decide the escaping: by its extension,
/// everything put into `.html` is escaped and nothing put into `.md`.
pub(super) fn write(path: &Path, pages: &[Source], facts: impl Serialize) -> Result<(), Error> {
    let page = render(pages, facts).map_err(|source| Error::Page { path: path.to_path_buf(), source })?;
    atomic::write(path, |out| std::io::Write::write_all(out, page.as_bytes()).map_err(Error::io(path)))
}

fn render(sources: &[Source], facts: impl Serialize) -> Result<String, minijinja::Error> {
    let mut pages = Environment::new();
    pages.set_undefined_behavior(UndefinedBehavior::Strict);
    // A line that holds a block tag alone leaves nothing behind.
    pages
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    pages.add_filter("count", count);
    pages.add_filter("money", |amount: f64| format!("{amount:.2}"));
    pages.add_filter("percent", |share: f64| format!("{:.1}%", 100.0 * share));
    pages.add_filter("hundredths", |share: f64| format!("{:.1}", 100.0 * share));
    pages.add_filter("points", points);
    pages.add_filter("duration", duration);
    pages.add_filter("fence", fence);
    pages.add_filter("quote", quote);
    pages.add_filter("shell", |text: String| word(&text));
    pages.add_filter("one_line", |text: String| text.split_whitespace().collect::<Vec<_>>().join(" "));
    sources.iter().try_for_each(|(name, source)| pages.add_template(name, source))?;
    pages.get_template(sources.first().map_or("", |(name, _)| name))?.render(Serde(facts))
}

/// 1234567 → 1,234,567.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// A difference of shares in percentage points, with its sign: `+12.5`, `−0.3`.
fn points(share: f64) -> String {
    match format!("{:+.1}", 100.0 * share) {
        zero if zero.ends_with("0.0") && zero.len() == 4 => "0.0".into(),
        signed => signed.replace('-', "−"),
    }
}

/// Seconds in their two greatest units: `1 h 05 min`, `2 min 03 s`, `4.2 s`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// As JSON, Python and YAML quote a text.
fn quote(text: String) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as a word of a shell, quoted where it has to be.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@=+-".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Backticks enough to fence a text that holds backticks itself.
fn fence(text: String) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}
