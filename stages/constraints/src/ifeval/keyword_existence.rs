//! `keywords:existence`: keywords that must all occur.

use crate::args::Args;
use crate::error::Error;
use crate::kinds::Kind;
use crate::pattern::{Flags, Pattern};
use crate::rule::{Parsed, Rule};
use crate::wording::quoted;

pub const KIND: Kind = Kind { id: "keywords:existence", fields: &["keywords"], build };

/// Each keyword occurs, also inside a longer word, without regard to case. Each is a regular expression.
struct KeywordExistence {
    keywords: Vec<String>,
    occurrences: Vec<Pattern>,
}

fn build(args: &Args) -> Result<Parsed, Error> {
    let keywords = args.strings("keywords")?;
    let compile = |keyword: &String| args.pattern("keywords", keyword, Flags::IGNORE_CASE);
    let occurrences = keywords.iter().map(compile).collect::<Result<_, _>>()?;
    Ok(KeywordExistence { keywords, occurrences }.into())
}

impl Rule for KeywordExistence {
    fn holds(&self, text: &str) -> bool {
        self.occurrences.iter().all(|occurrence| occurrence.is_match(text))
    }

    fn text(&self, negated: bool) -> String {
        let keywords = quoted(&self.keywords, "and");
        match (negated, self.keywords.len()) {
            (false, 1) => format!("Include the keyword {keywords}."),
            (false, _) => format!("Include all of the keywords {keywords}."),
            (true, 1) => {
                format!("Do not include the keyword {keywords}, not even inside a longer word.")
            }
            (true, _) => format!("Leave out at least one of the keywords {keywords}, also inside longer words."),
        }
    }
}
