//! `keywords:letter_frequency`: how often a character occurs.

use serde_json::{Map, Value};

use crate::args::{Args, state_relation};
use crate::error::Error;
use crate::kinds::Kind;
use crate::rule::{Parsed, Rule};
use crate::wording::use_times;

pub const KIND: Kind =
    Kind { id: "keywords:letter_frequency", fields: &["letter", "let_frequency", "let_relation"], build };

/// The character occurs at least `least` times in the text in lower case. Any character is kept as
/// given; older copies of the scorer replace one outside a to z by a random letter.
struct LetterFrequency {
    letter: char,
    least: usize,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let given = args.string("letter")?;
    let lower: Vec<char> = given.chars().flat_map(char::to_lowercase).collect();
    let [letter] = lower[..] else {
        return Err(args.refuse("letter", format!("must be a single character, found \"{given}\"")));
    };
    let rule = LetterFrequency { letter, least: args.count("let_frequency")? };
    Ok(Parsed::stated(rule, args.less_than("let_relation")?))
}

impl Rule for LetterFrequency {
    fn holds(&self, text: &str) -> bool {
        text.to_lowercase().matches(self.letter).count() >= self.least
    }

    fn text(&self, negated: bool) -> String {
        let noun = if self.letter.is_alphabetic() { "letter" } else { "character" };
        use_times(&format!("the {noun} \"{}\"", self.letter), self.least, negated)
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        state_relation(args, "let_relation", negated);
    }
}
