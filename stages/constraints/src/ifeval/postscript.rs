//! `detectable_content:postscript`: a postscript.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::{Flags, Pattern};
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "detectable_content:postscript", fields: &["postscript_marker"], build };

/// The marker occurs anywhere in the text in lower case. Two markers have patterns of their own; any other is a regular expression.
struct Postscript {
    marker: String,
    pattern: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let marker = strip(args.string("postscript_marker")?).to_owned();
    let source = match marker.as_str() {
        "P.P.S" => r"\s*p\.\s?p\.\s?s.*$".to_owned(),
        "P.S." => r"\s*p\.\s?s\..*$".to_owned(),
        other => format!(r"\s*{}.*$", other.to_lowercase()),
    };
    let pattern = args.pattern("postscript_marker", &source, Flags { multi_line: true, ignore_case: false })?;
    Ok(Postscript { marker, pattern }.into())
}

impl Rule for Postscript {
    fn holds(&self, text: &str) -> bool {
        self.pattern.is_match(&text.to_lowercase())
    }

    fn text(&self, negated: bool) -> String {
        demand(&format!("Add a postscript that starts with \"{}\".", self.marker), negated)
    }
}
