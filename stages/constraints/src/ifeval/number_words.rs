//! `length_constraints:number_words`: the number of words.

use serde_json::{Map, Value};

use crate::args::{Args, state_relation};
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};
use crate::wording::at_least;

pub const KIND: Kind = Kind { id: "length_constraints:number_words", fields: &["num_words", "relation"], build };

/// At least `least` runs of word characters.
struct NumberWords {
    least: usize,
    word: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let rule = NumberWords { least: args.count("num_words")?, word: args.fixed(r"\w+")? };
    Ok(Parsed::stated(rule, args.less_than("relation")?))
}

impl Rule for NumberWords {
    fn holds(&self, text: &str) -> bool {
        self.word.count(text) >= self.least
    }

    fn text(&self, negated: bool) -> String {
        format!("Write {}.", at_least(self.least, "word", negated))
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        state_relation(args, "relation", negated);
    }
}
