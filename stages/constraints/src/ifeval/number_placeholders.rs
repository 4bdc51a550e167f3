//! `detectable_content:number_placeholders`: placeholders in square brackets.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::rule::{Parsed, Rule};
use crate::wording::at_least;

pub const KIND: Kind = Kind { id: "detectable_content:number_placeholders", fields: &["num_placeholders"], build };

/// At least `least` stretches in square brackets, each on one line.
struct NumberPlaceholders {
    least: usize,
    placeholder: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let placeholder = args.fixed(r"\[.*?\]")?;
    Ok(NumberPlaceholders { least: args.count("num_placeholders")?, placeholder }.into())
}

impl Rule for NumberPlaceholders {
    fn holds(&self, text: &str) -> bool {
        self.placeholder.count(text) >= self.least
    }

    fn text(&self, negated: bool) -> String {
        format!("Include {} in square brackets, such as [address].", at_least(self.least, "placeholder", negated))
    }
}
