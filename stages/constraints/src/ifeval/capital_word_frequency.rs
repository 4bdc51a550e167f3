//! `change_case:capital_word_frequency`: the number of words in capitals.

use serde_json::{Map, Value};

use crate::args::{Args, state_relation};
use crate::error::Error;
use crate::kinds::Kind;
use crate::punkt::Punkt;
use crate::python::{is_space, is_upper};
use crate::rule::{Parsed, Rule};
use crate::treebank::{TREEBANK, Treebank};
use crate::wording::at_least;

pub const KIND: Kind =
    Kind { id: "change_case:capital_word_frequency", fields: &["capital_frequency", "capital_relation"], build };

/// At least `least` words with capitals and no other letters that have a case: "NASA", "A", "T-1000", and both parts of "DON'T".
struct CapitalWordFrequency {
    least: usize,
    punkt: &'static Punkt,
    treebank: &'static Treebank,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let (punkt, treebank) = (Punkt::in_use()?, args.shared(&TREEBANK)?);
    let rule = CapitalWordFrequency { least: args.count("capital_frequency")?, punkt, treebank };
    Ok(Parsed::stated(rule, args.less_than("capital_relation")?))
}

impl Rule for CapitalWordFrequency {
    fn holds(&self, text: &str) -> bool {
        let sentences = self.punkt.sentences(text).into_iter().map(|sentence| self.treebank.apart(sentence));
        let counts = sentences.map(|words| words.split(is_space).filter(|word| is_upper(word)).count());
        counts.sum::<usize>() >= self.least
    }

    fn text(&self, negated: bool) -> String {
        format!("Use {}.", at_least(self.least, "all-capital word", negated))
    }

    fn state(&self, args: &mut Map<String, Value>, negated: bool) {
        state_relation(args, "capital_relation", negated);
    }
}
