//! `detectable_format:number_highlighted_sections`: highlighted sections.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::python::is_blank;
use crate::rule::{Parsed, Rule};
use crate::wording::at_least;

pub const KIND: Kind = Kind { id: "detectable_format:number_highlighted_sections", fields: &["num_highlights"], build };

/// At least `least` stretches between asterisks, or between pairs of them, that are not blank.
struct NumberHighlightedSections {
    least: usize,
    single: Pattern,
    double: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let (single, double) = (args.fixed(r"\*[^\n\*]*\*")?, args.fixed(r"\*\*[^\n\*]*\*\*")?);
    Ok(NumberHighlightedSections { least: args.count("num_highlights")?, single, double }.into())
}

impl Rule for NumberHighlightedSections {
    fn holds(&self, text: &str) -> bool {
        let stretches = self.single.find_all(text).chain(self.double.find_all(text));
        stretches.filter(|stretch| !is_blank(stretch.trim_matches('*'))).count() >= self.least
    }

    fn text(&self, negated: bool) -> String {
        let sections = at_least(self.least, "section", negated);
        format!("Highlight {sections} with markdown, such as *highlighted section*.")
    }
}
