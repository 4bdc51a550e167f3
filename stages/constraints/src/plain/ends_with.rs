//! `ends_with`: the last words.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::python::is_space;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "ends_with", fields: &["phrase"], build };

/// The text ends with `phrase`, without regard to case and to what [`ignored`] says. A phrase that begins with a word
/// is not the end of a longer one: "football" does not end with the word "all".
struct EndsWith {
    phrase: String,
    /// A character that words are made of.
    word: Pattern,
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
        false => Ok(EndsWith { phrase: phrase.to_owned(), word: args.fixed(r"\w")? }.into()),
    }
}

impl EndsWith {
    fn is_word(&self, c: Option<char>) -> bool {
        c.is_some_and(|c| self.word.is_match(c.encode_utf8(&mut [0; 4])))
    }
}

impl Rule for EndsWith {
    fn holds(&self, text: &str) -> bool {
        let (text, phrase) = (text.trim_end_matches(ignored).to_lowercase(), self.phrase.to_lowercase());
        let inside_word =
            |before: &str| self.is_word(before.chars().next_back()) && self.is_word(phrase.chars().next());
        text.strip_suffix(&phrase).is_some_and(|before| !inside_word(before))
    }

    fn text(&self, negated: bool) -> String {
        demand(&format!("End with the words \"{}\".", self.phrase), negated)
    }
}
