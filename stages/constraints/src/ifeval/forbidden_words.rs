//! `keywords:forbidden_words`: words that must not occur.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};
use crate::wording::quoted;

pub const KIND: Kind = Kind { id: "keywords:forbidden_words", fields: &["forbidden_words"], build };

/// None of the words occurs as a whole word, without regard to case. Each is a regular expression.
struct ForbiddenWords {
    words: Vec<String>,
    occurrences: Vec<Pattern>,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let words = args.strings("forbidden_words")?;
    let compile = |word: &String| Pattern::bounded(word).map_err(|cause| args.refuse("forbidden_words", cause));
    let occurrences = words.iter().map(compile).collect::<Result<_, _>>()?;
    Ok(ForbiddenWords { words, occurrences }.into())
}

impl Rule for ForbiddenWords {
    fn holds(&self, text: &str) -> bool {
        !self.occurrences.iter().any(|occurrence| occurrence.is_match(text))
    }

    fn text(&self, negated: bool) -> String {
        let words = quoted(&self.words, "and");
        match (negated, self.words.len()) {
            (false, 1) => format!("Do not use the word {words}."),
            (false, _) => format!("Do not use any of the words {words}."),
            (true, 1) => format!("Use the word {words}."),
            (true, _) => format!("Use at least one of the words {words}."),
        }
    }
}
