//! `length_constraints:number_paragraphs`: the exact number of paragraphs between dividers.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::Pattern;
use crate::python::is_blank;
use crate::rule::{Parsed, Rule};
use crate::wording::{counted, demand};

pub const KIND: Kind = Kind { id: "length_constraints:number_paragraphs", fields: &["num_paragraphs"], build };

/// Exactly `paragraphs` parts between `***` dividers. A blank part may stand first and last only, where it does not count.
struct NumberParagraphs {
    paragraphs: usize,
    divider: Pattern,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let divider = args.fixed(r"\s?\*\*\*\s?")?;
    Ok(NumberParagraphs { paragraphs: args.count("num_paragraphs")?, divider }.into())
}

impl Rule for NumberParagraphs {
    fn holds(&self, text: &str) -> bool {
        filled(&self.divider.split(text)).is_some_and(|count| count == self.paragraphs)
    }

    fn text(&self, negated: bool) -> String {
        let paragraphs = counted(self.paragraphs, "paragraph");
        demand(&format!("Write exactly {paragraphs} separated by the markdown divider ***."), negated)
    }
}

/// The number of parts that are not blank; `None` where one between the first and the last is.
pub fn filled(parts: &[&str]) -> Option<usize> {
    let inner = parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default();
    let count = parts.iter().filter(|part| !is_blank(part)).count();
    (!inner.iter().any(|part| is_blank(part))).then_some(count)
}
