//! `change_case:english_capital`: English in capital letters.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::langdetect::{DETECTOR, Detector};
use crate::python::is_upper;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "change_case:english_capital", fields: &[], build };

/// There are letters with a case, all of them capital ones, and no language other than English is detected. As in the public scorer a
/// text of which no language can be detected passes for English; the reverse is the exact negation.
struct EnglishCapital {
    detector: &'static Detector,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    Ok(EnglishCapital { detector: args.shared(&DETECTOR)? }.into())
}

impl Rule for EnglishCapital {
    fn holds(&self, text: &str) -> bool {
        is_upper(text) && self.detector.passes_for(text, "en")
    }

    fn text(&self, negated: bool) -> String {
        demand("Write the entire response in English and in capital letters only.", negated)
    }
}
