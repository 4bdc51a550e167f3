//! `detectable_format:multiple_sections`: sections marked by a word and a number.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::{Flags, Pattern};
use crate::python::strip;
use crate::rule::{Parsed, Rule};
use crate::wording::at_least;

pub const KIND: Kind =
    Kind { id: "detectable_format:multiple_sections", fields: &["section_spliter", "num_sections"], build };

/// At least `least` marks: `splitter`, a regular expression, and a number.
struct MultipleSections {
    splitter: String,
    least: usize,
    mark: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let splitter = strip(args.string("section_spliter")?).to_owned();
    let mark = args.pattern("section_spliter", &format!(r"\s?{splitter}\s?\d+\s?"), Flags::default())?;
    Ok(MultipleSections { splitter, least: args.count("num_sections")?, mark }.into())
}

impl Rule for MultipleSections {
    /// The scorer counts the parts of Python's `re.split`, which adds one for every capturing group.
    fn holds(&self, text: &str) -> bool {
        self.mark.count(text) * (1 + self.mark.groups()) >= self.least
    }

    fn text(&self, negated: bool) -> String {
        let sections = at_least(self.least, "section", negated);
        format!("Mark {sections} with \"{0}\" and a number, such as \"{0} 1\".", self.splitter)
    }
}
