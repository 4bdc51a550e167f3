//! `ends_with`: the last words.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::is_space;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "ends_with", fields: &["phrase"], build };

/// The text ends with `phrase`, without regard to case and to what [`ignored`] says.
struct EndsWith {
    phrase: String,
}

/// What may follow the phrase: white space, full stop, exclamation and question mark, quotes.
fn ignored(c: char) -> bool {
    is_space(c) || matches!(c, '.' | '!' | '?' | '"' | '\'')
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let phrase = args.string("phrase")?;
    match phrase.ends_with(ignored) {
        true => Err(args.refuse(
            "phrase",
            "must not end with white space or one of . ! ? \" ', which are ignored at the end of a response",
        )),
        false => Ok(EndsWith { phrase: phrase.to_owned() }.into()),
    }
}

impl Rule for EndsWith {
    fn holds(&self, text: &str) -> bool {
        text.trim_end_matches(ignored).to_lowercase().ends_with(&self.phrase.to_lowercase())
    }

    fn text(&self, negated: bool) -> String {
        demand(&format!("End with the words \"{}\".", self.phrase), negated)
    }
}
