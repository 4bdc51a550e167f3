//! `detectable_format:title`: a title.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::python::is_blank;
use crate::rule::{Parsed, Rule};
use crate::wording::demand;

pub const KIND: Kind = Kind { id: "detectable_format:title", fields: &[], build };

/// A stretch in double angular brackets on one line that is not blank.
struct Title {
    brackets: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    Ok(Title { brackets: args.fixed(r"<<[^\n]+>>")? }.into())
}

impl Rule for Title {
    fn holds(&self, text: &str) -> bool {
        let mut titles = self.brackets.find_all(text);
        titles.any(|title| !is_blank(title.trim_start_matches('<').trim_end_matches('>')))
    }

    fn text(&self, negated: bool) -> String {
        demand("Include a title in double angular brackets, such as <<poem of joy>>.", negated)
    }
}
