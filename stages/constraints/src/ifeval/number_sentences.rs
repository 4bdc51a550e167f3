//! `length_constraints:number_sentences`: the number of sentences.

use serde_json::{Map, Value};

use crate::args::{Args, state_relation};
use crate::error::Error;
use crate::kinds::Kind;
use crate::multi_if;
use crate::punkt::Punkt;
use crate::reading::Reading;
use crate::rule::{Count, Parsed, Rule};
use crate::wording::at_least;

pub const KIND: Kind =
    Kind { id: "length_constraints:number_sentences", fields: &["num_sentences", "relation"], build };

/// At least `least` sentences as [`Punkt`] splits English, for Multi-IF in most languages.
struct NumberSentences {
    least: usize,
    count: Count,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let punkt = Punkt::in_use()?;
    let count: Count = match args.reading() {
        Reading::Ifeval => Box::new(|text| punkt.sentences(text).len()),
        Reading::MultiIf => multi_if::sentences(args, punkt)?,
    };
    let rule = NumberSentences { least: args.count("num_sentences")?, count };
    Ok(Parsed::stated(rule, args.less_than("relation")?))
}

impl Rule for NumberSentences {
    fn holds(&self, text: &str) -> bool {
        (self.count)(text) >= self.least
    }

    fn text(&self, negated: bool) -> String {
        format!("Write {}.", at_least(self.least, "sentence", negated))
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        state_relation(args, "relation", negated);
    }
}
