//! `contains`: a word that must occur.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "contains", fields: &["word"], build };

/// `word` occurs as a whole word, without regard to case.
struct Contains {
    word: String,
    occurrence: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let word = args.string("word")?;
    let edges = args.fixed(r"\A\w(?:.*\w)?\Z")?;
    if !edges.is_match(word) {
        return Err(args
            .refuse("word", format!("must begin and end with a letter, a digit or an underscore, found \"{word}\"")));
    }
    let occurrence = Pattern::bounded_literal(word).map_err(|cause| args.refuse("word", cause))?;
    Ok(Contains { word: word.to_owned(), occurrence }.into())
}

impl Rule for Contains {
    fn holds(&self, text: &str) -> bool {
        self.occurrence.is_match(text)
    }

    fn text(&self, negated: bool) -> String {
        demand(&format!("Use the word \"{}\".", self.word), negated)
    }
}
