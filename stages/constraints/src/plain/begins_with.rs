//! `begins_with`: the first word.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "begins_with", fields: &["word"], build };

/// The first run of word characters is `word`, without regard to case.
struct BeginsWith {
    word: String,
    first: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let (word, first) = (args.string("word")?, args.fixed(r"\w+")?);
    match first.find(word) == Some(word) {
        true => Ok(BeginsWith { word: word.to_owned(), first }.into()),
        false => {
            Err(args.refuse("word", format!("must be one word of letters, digits and underscores, found \"{word}\"")))
        }
    }
}

impl Rule for BeginsWith {
    fn holds(&self, text: &str) -> bool {
        self.first.find(text).is_some_and(|first| first.to_lowercase() == self.word.to_lowercase())
    }

    fn text(&self, negated: bool) -> String {
        demand(&format!("Begin with the word \"{}\".", self.word), negated)
    }
}
