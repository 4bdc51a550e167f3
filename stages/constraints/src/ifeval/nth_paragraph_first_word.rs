//! `length_constraints:nth_paragraph_first_word`: the number of paragraphs and the first word of one.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::{is_blank, is_space};
use crate::rule::{Parsed, Rule};
use crate::wording::counted;

pub const KIND: Kind = Kind {
    id: "length_constraints:nth_paragraph_first_word",
    fields: &["num_paragraphs", "nth_paragraph", "first_word"],
    build,
};

/// There are `paragraphs` paragraphs that are not blank, and paragraph `nth` (from 1, blank ones counted) starts with `word`.
struct NthParagraphFirstWord {
    paragraphs: usize,
    nth: usize,
    /// In lower case.
    word: String,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let (paragraphs, nth) = (args.count("num_paragraphs")?, args.count("nth_paragraph")?);
    if nth > paragraphs {
        return Err(args.refuse("nth_paragraph", format!("is {nth}, but there are only {paragraphs} paragraphs")));
    }
    Ok(NthParagraphFirstWord { paragraphs, nth, word: args.string("first_word")?.to_lowercase() }.into())
}

impl Rule for NthParagraphFirstWord {
    fn holds(&self, text: &str) -> bool {
        let count = text.split("\n\n").filter(|paragraph| !is_blank(paragraph)).count();
        let nth = text.split("\n\n").nth(self.nth - 1);
        count == self.paragraphs && nth.and_then(first_word).is_some_and(|word| word == self.word)
    }

    fn text(&self, negated: bool) -> String {
        let paragraphs = counted(self.paragraphs, "paragraph");
        let (nth, word) = (self.nth, &self.word);
        match negated {
            true => format!(
                "Either write any number of paragraphs other than {}, separated by blank lines, or begin paragraph {nth} with a word other than \"{word}\".",
                self.paragraphs
            ),
            false => format!(
                "Write exactly {paragraphs}, separated by blank lines, and begin paragraph {nth} with the word \"{word}\"."
            ),
        }
    }
}

/// The first word of a paragraph that is not blank: in lower case, without quotes before it, up to the first punctuation mark.
fn first_word(paragraph: &str) -> Option<String> {
    let token = paragraph.split(is_space).find(|token| !token.is_empty())?;
    let token = token.trim_start_matches('\'').trim_start_matches('"');
    let letters = token.chars().take_while(|c| !matches!(c, '.' | ',' | '?' | '!' | '\'' | '"'));
    Some(letters.flat_map(char::to_lowercase).collect())
}
