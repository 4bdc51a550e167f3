//! `length_constraints:number_words`: the number of words.

use serde_json::{Map, Value};

use crate::args::{Args, state_relation};
use crate::error::Error;
use crate::kinds::Kind;
use crate::multi_if;
use crate::reading::Reading;
use crate::rule::{Count, Parsed, Rule};
use crate::wording::at_least;

pub const KIND: Kind = Kind { id: "length_constraints:number_words", fields: &["num_words", "relation"], build };

/// At least `least` words: runs of word characters, for Multi-IF in most languages.
struct NumberWords {
    least: usize,
    count: Count,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let word = args.fixed(r"\w+")?;
    let count: Count = match args.reading() {
        Reading::Ifeval => Box::new(move |text| word.count(text)),
        Reading::MultiIf => multi_if::words(args, word)?,
    };
    let rule = NumberWords { least: args.count("num_words")?, count };
    Ok(Parsed::stated(rule, args.less_than("relation")?))
}

impl Rule for NumberWords {
    fn holds(&self, text: &str) -> bool {
        (self.count)(text) >= self.least
    }

    fn text(&self, negated: bool) -> String {
        format!("Write {}.", at_least(self.least, "word", negated))
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        state_relation(args, "relation", negated);
    }
}
