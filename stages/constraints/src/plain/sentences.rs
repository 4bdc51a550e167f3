//! `sentences`: the number of sentences.

use serde_json::{Map, Value};

use super::bound;
use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};

pub const KIND: Kind = Kind { id: "sentences", fields: bound::FIELDS, build };

/// At least `least` sentences. A sentence ends with a run of `.`, `!` and `?` before white space or
/// the end of the text, or with the text, and holds a word character.
struct Sentences {
    least: usize,
    /// A sentence from its first word character: what comes before does not matter.
    sentence: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let (least, negated) = bound::parse(args)?;
    let sentence = args.fixed(r"\w[^.!?]*(?:[.!?]+[^.!?\s][^.!?]*)*")?;
    Ok(Parsed::stated(Sentences { least, sentence }, negated))
}

impl Rule for Sentences {
    fn holds(&self, text: &str) -> bool {
        self.sentence.count(text) >= self.least
    }

    fn text(&self, negated: bool) -> String {
        bound::text(self.least, "sentence", negated)
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        bound::state(args, self.least, negated);
    }
}
