//! `words`: the number of words.

use serde_json::{Map, Value};

use super::bound;
use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};

pub const KIND: Kind = Kind { id: "words", fields: bound::FIELDS, build };

/// At least `least` runs of word characters.
struct Words {
    least: usize,
    word: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let (least, negated) = bound::parse(args)?;
    Ok(Parsed::stated(Words { least, word: args.fixed(r"\w+")? }, negated))
}

impl Rule for Words {
    fn holds(&self, text: &str) -> bool {
        self.word.count(text) >= self.least
    }

    fn text(&self, negated: bool) -> String {
        bound::text(self.least, "word", negated)
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        bound::state(args, self.least, negated);
    }
}
