//! `startend:quotation`: double quotes around everything.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::python::strip;
use crate::reading::Reading;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "startend:quotation", fields: &[], build };

/// Quotes that stand around the text, the first and the last of one pair, and these are two.
struct Quotation {
    pairs: &'static [(char, char)],
}

/// Multi-IF knows those of Chinese and Japanese too.
const PAIRS: &[(char, char)] = &[('"', '"'), ('“', '”'), ('「', '」')];

fn build(args: &Args) -> Result<Parsed, Error> {
    let pairs = match args.reading() {
        Reading::Ifeval => &PAIRS[..1],
        Reading::MultiIf => PAIRS,
    };
    Ok(Quotation { pairs }.into())
}

impl Rule for Quotation {
    fn holds(&self, text: &str) -> bool {
        let inside = |first: char| strip(text).strip_prefix(first);
        self.pairs.iter().any(|(first, last)| inside(*first).is_some_and(|rest| rest.ends_with(*last)))
    }

    fn text(&self, negated: bool) -> String {
        demand("Wrap the entire response in double quotation marks.", negated)
    }
}
