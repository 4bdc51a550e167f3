//! `startend:end_checker`: the last words.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "startend:end_checker", fields: &["end_phrase"], build };

/// The text ends with `phrase`, without regard to case and to double quotes around the text.
struct EndChecker {
    phrase: String,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    Ok(EndChecker { phrase: strip(args.string("end_phrase")?).to_owned() }.into())
}

impl Rule for EndChecker {
    fn holds(&self, text: &str) -> bool {
        strip(text).trim_matches('"').to_lowercase().ends_with(&self.phrase.to_lowercase())
    }

    fn text(&self, negated: bool) -> String {
        demand(&format!("End with the exact phrase \"{}\".", self.phrase), negated)
    }
}
