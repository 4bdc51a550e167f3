//! `language:response_language`: the language of the whole response.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::langdetect::{self, DETECTOR, Detector};
use crate::rule::{Parsed, Rule};

pub const KIND: Kind = Kind { id: "language:response_language", fields: &["language"], build };

/// No language other than the one of `code` is detected. The public scorer takes a response of which no language can be detected
/// for one that follows the instruction, and so it is here; the reverse is the exact negation, "another language is detected", which
/// such a response does not satisfy.
struct ResponseLanguage {
    code: String,
    name: &'static str,
    detector: &'static Detector,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let code = args.string("language")?;
    let unknown =
        || args.refuse("language", format!("must be a code that can be detected, such as \"de\", found \"{code}\""));
    let name = langdetect::name(code).ok_or_else(unknown)?;
    Ok(ResponseLanguage { code: code.to_owned(), name, detector: args.shared(&DETECTOR)? }.into())
}

impl Rule for ResponseLanguage {
    fn holds(&self, text: &str) -> bool {
        self.detector.passes_for(text, &self.code)
    }

    fn text(&self, negated: bool) -> String {
        match negated {
            true => format!("Write in a language other than {}.", self.name),
            false => format!("Write the entire response in {}.", self.name),
        }
    }
}
